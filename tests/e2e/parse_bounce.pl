# A report on standard input, as Mail::DeliveryStatus::BounceParser reads it: recipient, status, reason; a line each.
use strict;
use warnings;
use Mail::DeliveryStatus::BounceParser;
local $/;
my $bounce = Mail::DeliveryStatus::BounceParser->new(<STDIN>);
exit 3 unless $bounce->is_bounce;
print join("\t", map { defined $_ ? $_ : "" } $_->get("email"), $_->get("status"), $_->get("std_reason")), "\n" for $bounce->reports;
