# Bounds on how long something takes.  They hold on a quiet machine; under a suite
# that runs two servers at once on two processors they say little, so there a
# measure may exceed its bound EB_SLACK times (5 unless set) before it fails.
# EB_SLACK=1 is strict.
package EbBound;
use strict;
use warnings;
use Exporter 'import';
use Test::More;

our @EXPORT = qw(within);

sub within
{
	my ($seconds, $bound, $what) = @_;
	my $limit = $bound * ($ENV{EB_SLACK} || 5);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	note sprintf('%s: %.3f s, bound %g s%s', $what, $seconds, $bound, $seconds > $bound ? ', EXCEEDED' : '');
	return cmp_ok($seconds, '<=', $limit, $what);
}

1;
