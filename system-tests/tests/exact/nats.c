// A subscriber, a service and whoever asks it, which stay connected over two phases: the port, a folder, and how many messages of a kind a phase has.
// Between the phases it waits for a file.
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static volatile int got = 0;

static void check(natsStatus status, const char *what) {
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
        exit(1);
    }
}

static void take(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure) {
    if (natsMsg_GetReply(message) != NULL)
        check(natsConnection_Publish(connection, natsMsg_GetReply(message), natsMsg_GetData(message), natsMsg_GetDataLength(message)), "answer");
    natsMsg_Destroy(message);
    __sync_fetch_and_add(&got, 1);
}

static void phase(natsConnection *client, const char *name, int count) {
    int before = got;
    char subject[64], payload[2048];
    for (int at = 0; at < count; at++) {
        char word[4] = {'a' + at % 26, 'a' + at / 26 % 26, 'a' + at / 676 % 26, 0};
        int length = snprintf(payload, sizeof payload, "secret %0*d\r\nMSG a 1 0\r\n", at % 600 + 1, at);
        snprintf(subject, sizeof subject, "shop.%s.%s.message", name, word);
        check(natsConnection_Publish(client, subject, payload, length), "publish");
        // What is written at once is copied as far as its first bytes.
        if (at % 4 == 0) check(natsConnection_FlushTimeout(client, 20000), "flush");
        natsMsg *reply;
        snprintf(subject, sizeof subject, "shop.%s.%s.request", name, word);
        check(natsConnection_Request(&reply, client, subject, payload, length, 20000), "request");
        natsMsg_Destroy(reply);
    }
    for (int tries = 0; got < before + 2 * count; tries++) {
        if (tries > 4000) exit(2);
        usleep(10000);
    }
    // What is answered last may still be on its way.
    sleep(1);
}

int main(int count, char **arguments) {
    char url[64], path[4096];
    snprintf(url, sizeof url, "nats://127.0.0.1:%s", arguments[1]);
    int messages = atoi(arguments[3]);
    natsConnection *client, *service, *subscriber;
    natsSubscription *first, *second;
    check(natsConnection_ConnectTo(&service, url), "connect");
    check(natsConnection_ConnectTo(&subscriber, url), "connect");
    check(natsConnection_ConnectTo(&client, url), "connect");
    check(natsConnection_QueueSubscribe(&first, service, "shop.*.*.request", "workers", take, NULL), "subscribe");
    check(natsConnection_Subscribe(&second, subscriber, "shop.*.*.message", take, NULL), "subscribe");
    check(natsConnection_FlushTimeout(service, 20000), "flush");
    check(natsConnection_FlushTimeout(subscriber, 20000), "flush");
    phase(client, "first", messages);
    snprintf(path, sizeof path, "%s/half", arguments[2]);
    FILE *half = fopen(path, "w");
    if (half == NULL) return 3;
    fclose(half);
    snprintf(path, sizeof path, "%s/go", arguments[2]);
    while (access(path, F_OK) != 0) usleep(50000);
    phase(client, "second", messages);
    natsConnection_Destroy(client);
    natsConnection_Destroy(subscriber);
    natsConnection_Destroy(service);
    printf("%d\n", got);
    return 0;
}
