#!/usr/bin/perl
# What Mail::DKIM, as SpamAssassin and amavis use it, makes of each signature of the message on standard input:
# verify_dkim.pl NAME=RECORD... prints a line for each, "DOMAIN SELECTOR RESULT". It knows rsa-sha256 only.
use strict;
use warnings;
use Mail::DKIM::Verifier;

my %records = map { split /=/, $_, 2 } @ARGV;
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub {
        my ($name) = @_;
        return exists $records{$name} ? bless({ text => $records{$name} }, 'Record') : ();
    };
    *Mail::DKIM::DNS::query_async = sub {
        my ($name, $type, %how) = @_;
        my @found = Mail::DKIM::DNS::query($name);
        return sub { $how{Callbacks}{Success}->(@found) };
    };
}
sub Record::type { 'TXT' }
sub Record::char_str_list { $_[0]{text} }
sub Record::txtdata { $_[0]{text} }

binmode STDIN;
my $verifier = Mail::DKIM::Verifier->new;
while (my $line = <STDIN>) {
    $line =~ s/\r?\n\z/\r\n/;
    $verifier->PRINT($line);
}
$verifier->CLOSE;
print join(' ', $_->domain, $_->selector, $_->result), "\n" for $verifier->signatures;
