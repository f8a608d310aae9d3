package bench;

import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import java.io.FileInputStream;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.source.SourceRecord;

/**
 * Debezium's engine over one slot, up to a number of row changes: {@code Rival PROPERTIES COUNT [URL]}.
 *
 * <p>Without URL the events are only counted. With one, each batch of the engine is written to that Postgres in one
 * transaction: reduced to the last change of each key (as Debezium's own sink does with its reduction buffer), then a
 * batch of upserts and one of deletes per table, rewritten to multi-row statements by the driver.
 */
public final class Rival {
    private static final Map<String, Sink> SINKS = new HashMap<>();

    private Rival() {}

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        try (FileInputStream in = new FileInputStream(arguments[0])) {
            properties.load(in);
        }
        long wanted = Long.parseLong(arguments[1]);
        Connection target = arguments.length > 2 ? DriverManager.getConnection(arguments[2]) : null;
        if (target != null) {
            target.setAutoCommit(false);
        }
        CountDownLatch done = new CountDownLatch(1);
        long[] seen = {0};
        DebeziumEngine<RecordChangeEvent<SourceRecord>> engine =
                DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
                        .using(properties)
                        .using((success, message, error) -> {
                            if (!success) {
                                System.err.println(message);
                                if (error != null) {
                                    error.printStackTrace();
                                }
                                System.exit(1);
                            }
                        })
                        .notifying((events, committer) -> {
                            try {
                                seen[0] += take(events, target);
                            } catch (Exception error) {
                                error.printStackTrace();
                                System.exit(1);
                            }
                            for (RecordChangeEvent<SourceRecord> event : events) {
                                committer.markProcessed(event);
                            }
                            committer.markBatchFinished();
                            if (seen[0] >= wanted) {
                                done.countDown();
                            }
                        })
                        .build();
        Thread thread = new Thread(engine, "engine");
        thread.start();
        done.await();
        engine.close();
        System.out.println(seen[0]);
        System.exit(0);
    }

    private static long take(List<RecordChangeEvent<SourceRecord>> events, Connection target) throws Exception {
        long count = 0;
        for (RecordChangeEvent<SourceRecord> event : events) {
            SourceRecord record = event.record();
            // Heartbeats, and logical messages, have no row.
            if (!(record.value() instanceof Struct value) || record.valueSchema().field("after") == null) {
                continue;
            }
            count++;
            if (target != null) {
                String table = value.getStruct("source").getString("table");
                Struct key = (Struct) record.key();
                SINKS.computeIfAbsent(table, name -> new Sink(name, key))
                        .put(key, "d".equals(value.getString("op")) ? null : value.getStruct("after"));
            }
        }
        if (target != null) {
            for (Sink sink : SINKS.values()) {
                sink.write(target);
            }
            target.commit();
        }
        return count;
    }

    /** One table: the last change of each key since the last {@link #write}. */
    private static final class Sink {
        private final String table;
        private final List<String> key = new ArrayList<>();
        private final Map<List<Object>, Struct> rows = new LinkedHashMap<>();
        private List<String> columns;
        private PreparedStatement upsert;
        private PreparedStatement delete;

        Sink(String table, Struct first) {
            this.table = table;
            for (Field field : first.schema().fields()) {
                key.add(field.name());
            }
        }

        void put(Struct under, Struct row) {
            List<Object> values = new ArrayList<>();
            for (String name : key) {
                values.add(under.get(name));
            }
            rows.remove(values);
            rows.put(values, row);
        }

        void write(Connection target) throws Exception {
            for (Map.Entry<List<Object>, Struct> entry : rows.entrySet()) {
                if (entry.getValue() == null) {
                    if (delete == null) {
                        delete = target.prepareStatement(
                                "DELETE FROM " + table + " WHERE " + String.join(" = ? AND ", key) + " = ?");
                    }
                    bind(delete, entry.getKey());
                } else {
                    if (upsert == null) {
                        prepare(target, entry.getValue());
                    }
                    List<Object> values = new ArrayList<>();
                    for (String name : columns) {
                        values.add(typed(entry.getValue(), name));
                    }
                    bind(upsert, values);
                }
            }
            rows.clear();
            if (upsert != null) {
                upsert.executeBatch();
            }
            if (delete != null) {
                delete.executeBatch();
            }
        }

        private void prepare(Connection target, Struct row) throws Exception {
            columns = new ArrayList<>();
            List<String> sets = new ArrayList<>();
            List<String> marks = new ArrayList<>();
            for (Field field : row.schema().fields()) {
                columns.add(field.name());
                marks.add("?");
                if (!key.contains(field.name())) {
                    sets.add(field.name() + " = EXCLUDED." + field.name());
                }
            }
            upsert = target.prepareStatement("INSERT INTO " + table + " (" + String.join(", ", columns) + ") VALUES ("
                    + String.join(", ", marks) + ") ON CONFLICT (" + String.join(", ", key) + ") DO UPDATE SET "
                    + String.join(", ", sets));
        }

        private static Object typed(Struct row, String name) {
            Object value = row.get(name);
            String meaning = row.schema().field(name).schema().name();
            if (value instanceof String text && "io.debezium.time.ZonedTimestamp".equals(meaning)) {
                return OffsetDateTime.parse(text);
            }
            return value;
        }

        private static void bind(PreparedStatement statement, List<Object> values) throws Exception {
            int place = 0;
            for (Object value : values) {
                statement.setObject(++place, value);
            }
            statement.addBatch();
        }
    }
}
