// Asks through the C client of NATS: the port, and how often.
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

static void check(natsStatus status, const char *what) {
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
        exit(1);
    }
}

static void answer(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure) {
    check(natsConnection_Publish(connection, natsMsg_GetReply(message), "secret", 6), "answer");
    natsMsg_Destroy(message);
}

int main(int count, char **arguments) {
    char url[64];
    snprintf(url, sizeof url, "nats://127.0.0.1:%s", arguments[1]);
    int times = atoi(arguments[2]);
    natsConnection *client, *service;
    natsSubscription *subscription, *pulled;
    check(natsConnection_ConnectTo(&service, url), "connect");
    check(natsConnection_ConnectTo(&client, url), "connect");
    check(natsConnection_QueueSubscribe(&subscription, service, "shop.price.*", "workers", answer, NULL), "subscribe");
    check(natsConnection_Flush(service), "flush");
    for (int at = 0; at < times; at++) {
        natsMsg *reply;
        char subject[64];
        snprintf(subject, sizeof subject, "shop.price.%d", 1000 + at);
        check(natsConnection_PublishString(client, "shop.seen", "secret"), "publish");
        check(natsConnection_RequestString(&reply, client, subject, "secret", 20000), "request");
        natsMsg_Destroy(reply);
    }

    jsCtx *stream;
    jsStreamConfig configuration;
    jsErrCode error;
    check(natsConnection_JetStream(&stream, client, NULL), "JetStream");
    jsStreamConfig_Init(&configuration);
    const char *subjects[] = {"orders.*"};
    configuration.Name = "orders";
    configuration.Subjects = subjects;
    configuration.SubjectsLen = 1;
    configuration.Storage = js_MemoryStorage;
    check(js_AddStream(NULL, stream, &configuration, NULL, &error), "add a stream");
    for (int at = 0; at < times; at++) check(js_Publish(NULL, stream, "orders.made", "secret", 6, NULL, &error), "publish");
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.ExpectLastSeq = 1;
    if (js_Publish(NULL, stream, "orders.made", "secret", 6, &options, &error) == NATS_OK) return 1;
    check(js_PullSubscribe(&pulled, stream, "orders.made", "worker", NULL, NULL, &error), "subscribe");
    for (int at = 0; at < times; at++) {
        natsMsgList list;
        check(natsSubscription_Fetch(&list, pulled, 1, 20000, &error), "fetch");
        if (at % 2 == 0) check(natsMsg_AckSync(list.Msgs[0], NULL, &error), "acknowledge");
        else check(natsMsg_Ack(list.Msgs[0], NULL), "acknowledge");
        natsMsgList_Destroy(&list);
    }
    check(natsConnection_Flush(client), "flush");
    natsSubscription_Destroy(pulled);
    natsSubscription_Destroy(subscription);
    natsConnection_Destroy(client);
    natsConnection_Destroy(service);
    nats_Close();
    return 0;
}
