import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Kafka's own client: writes messages to a topic, each in a request of its own, and reads them. Address, topic and count are the arguments. */
public class Java {
    public static void main(String[] arguments) throws Exception {
        String address = arguments[0], topic = arguments[1];
        int count = Integer.parseInt(arguments[2]);
        try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", address, "acks", "1", "enable.idempotence", false, "linger.ms", 0),
                new StringSerializer(), new StringSerializer())) {
            for (int at = 0; at < count; at++) {
                producer.send(new ProducerRecord<>(topic, 0, null, "secret" + at)).get();
            }
        }
        int read = 0;
        try (var consumer = new KafkaConsumer<>(Map.of("bootstrap.servers", address), new StringDeserializer(), new StringDeserializer())) {
            consumer.assign(List.of(new TopicPartition(topic, 0)));
            consumer.seekToBeginning(List.of());
            while (read < count) {
                read += consumer.poll(Duration.ofSeconds(1)).count();
            }
        }
        System.out.println(read);
    }
}
