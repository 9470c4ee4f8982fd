// node read.mjs BROKERS REGISTRY PREFIX: every record of every topic, a line of JSON each.
import { SchemaRegistry, SchemaType } from "@kafkajs/confluent-schema-registry";
import avro from "avsc";
import { decompress } from "fzstd";
import kafkajs from "kafkajs";

const [brokers, registryUrl, prefix] = process.argv.slice(2);
// kafkajs knows no zstd of its own.
kafkajs.CompressionCodecs[kafkajs.CompressionTypes.ZSTD] = () => ({ decompress: async (bytes) => Buffer.from(decompress(bytes)) });
// A long may be above 2^53.
const long = avro.types.LongType.__with({
  fromBuffer: (bytes) => bytes.readBigInt64LE(),
  toBuffer: (value) => { const bytes = Buffer.alloc(8); bytes.writeBigInt64LE(value); return bytes; },
  fromJSON: BigInt, toJSON: String, isValid: (value) => typeof value === "bigint", compare: (a, b) => (a < b ? -1 : a > b ? 1 : 0),
});
const typeHook = (schema) => (schema === "long" || schema.type === "long" ? long : undefined);
const registry = new SchemaRegistry({ host: registryUrl }, { [SchemaType.AVRO]: { typeHook } });
const consumer = new kafkajs.Kafka({ brokers: brokers.split(","), logLevel: kafkajs.logLevel.ERROR }).consumer({ groupId: `reader-${process.pid}` });
await consumer.connect();
await consumer.subscribe({ topics: [new RegExp(`^${prefix.replaceAll(".", "[.]")}[a-z-]+$`)], fromBeginning: true });
await consumer.run({
  eachMessage: async ({ topic, message }) => {
    const record = await registry.decode(message.value);
    console.log(JSON.stringify({ topic, record }, (_, value) => (typeof value === "bigint" ? String(value) : value)));
  },
});
