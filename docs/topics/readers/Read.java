// mvn package; java -cp 'target/jars/*' Read.java BROKERS REGISTRY PREFIX: every record of every topic, a line of JSON each.
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.time.Duration;
import java.util.*;
import java.util.regex.Pattern;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.*;

public class Read {
    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0], registry = arguments[1], topics = Pattern.quote(arguments[2]) + "[a-z-]+";
        var settings = Map.<String, Object>of("bootstrap.servers", brokers, "group.id", "reader-java", "auto.offset.reset", "earliest", "isolation.level", "read_committed");
        var readers = new HashMap<Integer, GenericDatumReader<Object>>();
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new ByteArrayDeserializer())) {
            consumer.subscribe(Pattern.compile(topics));
            while (true) {
                for (var message : consumer.poll(Duration.ofSeconds(1))) {
                    byte[] value = message.value();
                    int id = java.nio.ByteBuffer.wrap(value, 1, 4).getInt();
                    if (!readers.containsKey(id)) {
                        var answer = new ObjectMapper().readTree(URI.create(registry + "/schemas/ids/" + id).toURL().openStream());
                        readers.put(id, new GenericDatumReader<>(new Schema.Parser().parse(answer.get("schema").asText())));
                    }
                    var record = readers.get(id).read(null, DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null));
                    System.out.println("{\"topic\": \"" + message.topic() + "\", \"record\": " + record + "}"); // Avro's text of a record is JSON.
                }
            }
        }
    }
}
