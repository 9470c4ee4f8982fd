use DBI;

$RESOURCE = "shop";

# What the driver says after its login, by itself.
my @SETTINGS = ("NAMES 'utf8mb4'", "character_set_server = 'utf8mb4'", "collation_connection = 'utf8mb4_unicode_ci'",
    "collation_server = 'utf8mb4_unicode_ci'");

sub connected {
    my $db = DBI->connect("DBI:MariaDB:database=shop;host=127.0.0.1;port=$PORT;mariadb_ssl=0", "root", "",
        { mariadb_server_prepare => 1, mariadb_server_prepare_disable_fallback => 1, PrintError => 0, RaiseError => 0 }) or die $DBI::errstr;
    my $fd = $db->{mariadb_sockfd};
    my ($port, $position) = moved($fd);
    for my $setting (reverse @SETTINGS) {
        my $length = 5 + length "SET $setting";
        $position -= $length;
        note($port, $position, "SET $setting" =~ s/'.*'/?/r, $length, -1);
    }
    note($port, 0, "CONNECT", $position, -1);
    my $kept = ask($fd, "PREPARE SELECT ? AS kept", sub { $db->prepare("SELECT ? AS kept") });
    return { db => $db, fd => $fd, kept => $kept };
}

sub some {
    my ($connection, $at) = @_;
    my ($db, $fd, $kept) = @$connection{qw(db fd kept)};
    my $execute = sub {
        my ($statement, $operation) = @_;
        ask($fd, $operation, sub { $statement->execute("secret$at") or die $statement->errstr; $statement->fetchall_arrayref });
    };
    if ($at % 4 == 0) {
        my $statement = ask($fd, "PREPARE SELECT ? AS mark_$at", sub { $db->prepare("SELECT ? AS mark_$at") });
        $execute->($statement, "SELECT ? AS mark_$at") for 1 .. 2;
        $statement->finish;
    } elsif ($at % 4 == 1) {
        my $sql = "SELECT a AS mark_$at FROM nowhere";
        ask($fd, "PREPARE $sql", sub { die "it is there" if $db->prepare($sql) }, "CLIENT_ERROR", "1146/42S02");
    } elsif ($at % 4 == 2) {
        ask($fd, "PING", sub { $db->ping or die "it is not there" });
    } else {
        $execute->($kept, "SELECT ? AS kept");
    }
}

serve(\&connected, \&some, sub { my ($connection) = @_; undef $connection->{kept}; $connection->{db}->disconnect });
