#!/usr/bin/env perl
# Draws lines of (series, second, value...) as an SVG.
#
#   plot.pl FILE TITLE UNIT series=label,... COLUMN DIVISOR <rows
use strict;
use warnings;
use POSIX qw(ceil floor);

my ($file, $title, $unit, $names, $column, $divisor) = @ARGV;
my @names = map { [ split /=/, $_, 2 ] } split /,/, $names;
my %points;
my ($xmax, $ymax) = (1, 0);
while (<STDIN>)
{
	my @f = split;
	next unless defined $f[ $column - 1 ];
	my ($x, $y) = ($f[1], $f[ $column - 1 ] / $divisor);
	push @{ $points{ $f[0] } }, [ $x, $y ];
	$xmax = $x if $x > $xmax;
	$ymax = $y if $y > $ymax;
}

# The next of 1, 2, 5, 10, 20 ... that makes at most n steps.
sub step
{
	my ($max, $n) = @_;
	my $unit = 10**floor(log(($max || 1) / $n) / log(10));
	foreach my $k (1, 2, 5, 10) { return $k * $unit if $max / ($k * $unit) <= $n; }
}

my ($w, $h, $left, $right, $top, $bottom) = (760, 380, 64, 16, 44, 64);
my ($ystep, $xstep) = (step($ymax, 6), step($xmax, 8));
$ymax = $ystep * ceil($ymax / $ystep) || 1;
sub px { return sprintf '%.1f', $left + $_[0] / $xmax * ($w - $left - $right); }
sub py { return sprintf '%.1f', $h - $bottom - $_[0] / $ymax * ($h - $top - $bottom); }

my @style = ([ '#1f77b4', '' ], [ '#d62728', '' ], [ '#7f7f7f', '5 3' ], [ '#ff9f1c', '5 3' ]);
my $svg = qq(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $w $h" font-family="sans-serif" font-size="12">\n)
  . qq(<rect width="$w" height="$h" fill="white"/>\n<text x="$left" y="24" font-size="15">$title</text>\n);
for (my $y = 0; $y <= $ymax * 1.0001; $y += $ystep)
{
	$svg .= sprintf qq(<path d="M%d %s H%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%g</text>\n),
	  $left, py($y), $w - $right, $left - 6, py($y) + 4, $y;
}
for (my $x = 0; $x <= $xmax; $x += $xstep)
{
	$svg .= sprintf qq(<text x="%s" y="%d" text-anchor="middle">%g</text>\n), px($x), $h - $bottom + 18, $x;
}
$svg .= sprintf qq(<text x="%d" y="24" text-anchor="end">%s</text><text x="%d" y="%d" text-anchor="end">s</text>\n),
  $left - 6, $unit, $w - $right, $h - $bottom + 34;
my $at = $left;
foreach my $i (0 .. $#names)
{
	my ($series, $label) = @{ $names[$i] };
	next unless $points{$series};
	my ($color, $dash) = @{ $style[ $i % @style ] };
	my $d = join ' ', map { px($_->[0]) . ',' . py($_->[1]) } @{ $points{$series} };
	my $look = qq(stroke="$color" stroke-width="1.6" fill="none") . ($dash ? qq( stroke-dasharray="$dash") : '');
	$svg .= qq(<polyline points="$d" $look/>\n);
	$svg .= sprintf qq(<path d="M%d %d h24" $look/><text x="%d" y="%d">%s</text>\n), $at, $h - 16, $at + 30, $h - 12, $label;
	$at += 50 + 8 * length $label;
}
open my $out, '>', $file or die "$file: $!";
print $out "$svg</svg>\n";
close $out or die "$file: $!";
