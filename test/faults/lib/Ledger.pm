# The ledger: what producers, consumers and readers of the load saw, in files
# outside the database.  One process writes one file, one line an event; README.md
# lists the lines.
package Ledger;
use strict;
use warnings;
use IO::Handle;
use Time::HiRes ();

# Opens the file of one process for appending.
sub open
{
	my ($class, $folder, $name) = @_;
	CORE::open my $file, '>>', "$folder/$name" or die "$folder/$name: $!";
	$file->autoflush(1);
	return bless { file => $file }, $class;
}

sub write
{
	my $self = shift;
	print { $self->{file} } join(' ', @_), "\n" or die "ledger: $!";
}

# As write, and on disk before it returns.
sub write_sync
{
	my $self = shift;
	$self->write(@_);
	$self->{file}->sync or die "ledger: $!";
}

# A clock that the server's clock does not move, in seconds.
sub now
{
	return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC());
}

# Calls back with (file name, word, word, ...) for each line of the files that match.
sub each_line
{
	my ($folder, $pattern, $callback) = @_;
	opendir my $dir, $folder or die "$folder: $!";
	foreach my $name (sort grep { /^$pattern$/ } readdir $dir)
	{
		CORE::open my $file, '<', "$folder/$name" or die "$name: $!";
		while (my $line = <$file>)
		{
			# A line without an end was being written when the process died.
			next unless chomp $line;
			$callback->($name, split / /, $line, -1);
		}
	}
}

1;
