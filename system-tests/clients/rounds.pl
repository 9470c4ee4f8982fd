# What rounds.py is, in Perl.
use strict; use warnings;
use Socket qw(unpack_sockaddr_in IPPROTO_TCP);
our $PORT = $ARGV[0];
# What is asked goes there.
our $RESOURCE = "";
use constant TCP_INFO => 11;

sub moved {
    my ($fd) = @_;
    open(my $socket, "+<&", $fd) or die "the socket: $!";
    my $info = getsockopt($socket, IPPROTO_TCP, TCP_INFO);
    my ($sent, $again, $received) = (unpack("Q2", substr($info, 200)), unpack("Q", substr($info, 128)));
    my ($port) = unpack_sockaddr_in(getsockname($socket));
    return ($port, $sent - $again, $received);
}

sub note {
    my ($port, $position, $operation, $request_bytes, $response_bytes, $outcome, $code, $resource) = @_;
    printf qq({"port":%d,"position":%d,"operation":"%s","resource":"%s","kind":"CALL","outcome":"%s","code":"%s","request_bytes":%d,"response_bytes":%d}\n),
        $port, $position, $operation, $resource // $RESOURCE, $outcome // "OK", $code // "", $request_bytes, $response_bytes;
}

# One request, which is answered before it returns.
sub ask {
    my ($fd, $operation, $work, @how) = @_;
    my (undef, $sent, $received) = moved($fd);
    my $result = $work->();
    my ($port, $sent_then, $received_then) = moved($fd);
    note($port, $sent, $operation, $sent_then - $sent, $received_then - $received, @how);
    return $result;
}

sub serve {
    my ($connect, $some, $close) = @_;
    $| = 1;
    my ($old, $at) = ($connect->(), 0);
    while (my $line = <STDIN>) {
        my $new = $connect->();
        for my $connection ($old, $new) {
            $some->($connection, $at++) for 1 .. $line / 2;
        }
        $close->($new);
        print "done\n";
    }
}
