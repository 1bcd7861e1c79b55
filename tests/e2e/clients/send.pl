# Perl's Net::SMTP: perl send.pl JOB (clients/__init__.py), the message on standard input. Prints the server's reply.
use strict;
use warnings;
use JSON::PP;
use Net::SMTP;

my $job = decode_json($ARGV[0]);
my %tls = (SSL_ca_file => $job->{ca}, SSL_verifycn_name => "localhost");
my $smtp = Net::SMTP->new("localhost", Port => $job->{port}, Hello => "client.test", ($job->{implicit} ? (SSL => 1, %tls) : ()))
    or die "connect: $@\n";
sub must { my ($ok, $what) = @_; $ok or die "$what: " . $smtp->code . " " . $smtp->message; }
must($smtp->starttls(%tls), "STARTTLS") unless $job->{implicit};
must($smtp->auth($job->{user}, $job->{password}), "AUTH");
must($smtp->mail($job->{sender}), "MAIL");
must($smtp->to(@{$job->{recipients}}), "RCPT");
my $message = do { local $/; <STDIN> };
$message =~ s/\r\n/\n/g;    # the library makes CR LF of LF
must($smtp->data($message), "DATA");
print $smtp->message;
$smtp->quit;
