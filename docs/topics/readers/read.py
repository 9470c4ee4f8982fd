# read.py BROKERS REGISTRY PREFIX: every record of every topic, a line of JSON each.
import functools, io, json, sys, urllib.request
import avro.io, avro.schema
from confluent_kafka import Consumer

brokers, registry, prefix = sys.argv[1:]

@functools.cache
def reader(id):
    answer = json.load(urllib.request.urlopen(f"{registry}/schemas/ids/{id}"))
    return avro.io.DatumReader(avro.schema.parse(answer["schema"]))

consumer = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "auto.offset.reset": "earliest"})
consumer.subscribe(["^" + prefix.replace(".", "[.]") + "[a-z-]+$"])
while True:
    message = consumer.poll(1)
    if message is None:  # nothing yet
        continue
    id, datum = int.from_bytes(message.value()[1:5], "big"), io.BytesIO(message.value()[5:])
    record = reader(id).read(avro.io.BinaryDecoder(datum))
    print(json.dumps({"topic": message.topic(), "record": record}, default=str), flush=True)
