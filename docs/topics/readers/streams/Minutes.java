// mvn package; java -cp 'target/jars/*' Minutes.java BROKERS REGISTRY PREFIX: the requests of each edge in each minute, which Kafka Streams adds up from the
// windows of edges, a line of JSON whenever they grow. The registry is asked by Apicurio's own API, not by Confluent's.
import io.apicurio.registry.serde.avro.AvroSerde;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.avro.generic.GenericRecord;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.*;
import org.apache.kafka.streams.processor.TimestampExtractor;

public class Minutes {
    public static void main(String[] arguments) {
        String brokers = arguments[0], registry = arguments[1], prefix = arguments[2];
        var serde = new AvroSerde<GenericRecord>();
        serde.configure(Map.of("apicurio.registry.url", registry, "apicurio.registry.as-confluent", "true", "apicurio.registry.use-id", "contentId"), false);
        var builder = new StreamsBuilder();
        // Kafka's own timestamp of a record says when it was written.
        TimestampExtractor start = (message, before) -> (Long) ((GenericRecord) message.value()).get("window_start_us") / 1000;
        builder.stream(prefix + "edges", Consumed.with(Serdes.String(), serde).withTimestampExtractor(start))
            .filter((edge, window) -> (int) window.get("revision") == 0) // A window that is published again would count twice.
            .mapValues(window -> (Long) window.get("requests"))
            .groupByKey(Grouped.with(Serdes.String(), Serdes.Long()))
            .windowedBy(TimeWindows.ofSizeWithNoGrace(Duration.ofMinutes(1)))
            .reduce(Long::sum)
            .toStream()
            .foreach((edge, requests) -> System.out.println("{\"edge\": \"" + edge.key() + "\", \"minute\": " + edge.window().start() + ", \"requests\": " + requests + "}"));
        var settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", brokers, "application.id", prefix + "minutes", "processing.guarantee", "exactly_once_v2", "auto.offset.reset", "earliest"));
        var streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
