// Connects to nats-server over TLS, publishes a message and prints the port that it has used. The server's port is the argument.
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

static void check(natsStatus status, const char *what) {
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
        exit(1);
    }
}

int main(int count, char **arguments) {
    char url[64];
    snprintf(url, sizeof url, "tls://127.0.0.1:%s", arguments[1]);
    natsOptions *options;
    natsConnection *connection;
    char *address;
    int port;
    check(natsOptions_Create(&options), "options");
    check(natsOptions_SetURL(options, url), "address");
    check(natsOptions_SetSecure(options, true), "TLS");
    check(natsOptions_SkipServerVerification(options, true), "TLS");
    check(natsConnection_Connect(&connection, options), "connect");
    check(natsConnection_PublishString(connection, "shop.orders", "secret"), "publish");
    check(natsConnection_FlushTimeout(connection, 20000), "flush");
    check(natsConnection_GetLocalIPAndPort(connection, &address, &port), "port");
    natsConnection_Destroy(connection);
    printf("%d\n", port);
    return 0;
}
