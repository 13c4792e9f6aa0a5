import com.segment.analytics.kotlin.core.AliasEvent;
import com.segment.analytics.kotlin.core.Analytics;
import com.segment.analytics.kotlin.core.BaseEvent;
import com.segment.analytics.kotlin.core.Configuration;
import com.segment.analytics.kotlin.core.Telemetry;
import com.segment.analytics.kotlin.core.compat.ConfigurationBuilder;
import com.segment.analytics.kotlin.core.platform.plugins.logger.LogKind;
import com.segment.analytics.kotlin.core.platform.plugins.logger.LogMessage;
import com.segment.analytics.kotlin.core.platform.plugins.logger.Logger;
import com.segment.analytics.kotlin.core.utilities.InMemoryStorageProvider;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import kotlin.jvm.functions.Function1;
import kotlinx.serialization.json.JsonElementKt;
import kotlinx.serialization.json.JsonObject;

/** Sends calls by analytics-kotlin, from Java. Arguments and output: see ../client.ts. */
public final class Client {
  private static final Pattern UPLOADED = Pattern.compile("uploaded (\\S+)$");
  private static final int POLL_MS = 20;
  private static final String STARTED = "Analytics starting = true";
  private static final String HELD = "SegmentStartupQueue queueing event";
  private static final Pattern USER = Pattern.compile("\"userId\":\"(\\d+)\"");

  private final Analytics analytics;
  private final CountDownLatch open;
  private final CountDownLatch started = new CountDownLatch(1);
  private volatile boolean holdsCalls;

  private Client(Configuration configuration, int count) {
    open = new CountDownLatch(count);
    Analytics.Companion.setDebugLogsEnabled(true);
    Analytics.Companion.setLogger(new UploadLogger());
    analytics = new Analytics(configuration);
  }

  public static void main(String[] args) throws Exception {
    if (args[0].equals("version")) {
      System.out.println("Java " + Runtime.version().feature() + ", analytics-kotlin " + version());
      return;
    }
    // Telemetry would be sent to Segment, whatever the hosts are.
    Telemetry.INSTANCE.setEnable(false);
    boolean sends = args[0].equals("send");
    int count = sends ? Integer.parseInt(args[1]) : 5;
    int batch = sends ? Integer.parseInt(args[2]) : 100;
    Client client = new Client(configurationOf(batch), count);
    client.started.await();
    if (sends) client.send(count, batch, Integer.parseInt(args[3]));
    else client.callEach();
    client.analytics.flush();
    client.awaitUntilOpen(0);
    System.exit(0);
  }

  private static Configuration configurationOf(int batch) {
    // The library puts https:// before the hosts.
    String host = System.getenv("CLIENT_URL").replaceFirst("^https://", "") + "/v1";
    Configuration configuration =
        new ConfigurationBuilder(System.getenv("CLIENT_WRITE_KEY"))
            .setApplication("frequency")
            .setApiHost(host)
            .setCdnHost(host)
            .setFlushAt(batch)
            .setFlushInterval(1)
            .build();
    configuration.setStorageProvider(new InMemoryStorageProvider());
    return configuration;
  }

  /** The version in the name of the library's archive. The library itself reports an older one. */
  private static String version() throws Exception {
    Path archive =
        Path.of(Analytics.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    return archive.getFileName().toString().replaceAll("^core-|\\.jar$", "");
  }

  private void callEach() {
    analytics.identify("1", members("plan", "pro"), by(1));
    analytics.track("Signed Up", members("seats", 3), by(2, "2026-01-02T03:04:05.000Z"));
    analytics.screen("Home", members("dark", true), "", by(4));
    analytics.group("g1", members("name", "Acme"), by(5));
    analytics.alias(
        "6",
        event -> {
          ((AliasEvent) event).setPreviousId("a1");
          return event;
        });
  }

  private void send(int count, int batch, int pauseMs) throws InterruptedException, IOException {
    for (int n = 1; n <= count; n++) {
      analytics.track("Counted", members("n", n), by(n));
      if (n == count / 4) awaitUntilOpen(count - n);
      if (n == count / 4 * 3) System.in.read();
      if (n % batch == 0) Thread.sleep(pauseMs);
    }
  }

  /**
   * Waits until this many calls are open. The library queues calls until it has started. Several threads report state
   * changes to that queue. If "not started" arrives after "started", the queue keeps all calls for ever. If the library
   * is enabled again, the queue gets the current state and releases its calls.
   */
  private void awaitUntilOpen(int count) throws InterruptedException {
    while (open.getCount() > count) {
      if (holdsCalls) analytics.setEnabled(true);
      Thread.sleep(POLL_MS);
    }
  }

  private static JsonObject members(String name, Object value) {
    if (value instanceof Boolean flag)
      return new JsonObject(Map.of(name, JsonElementKt.JsonPrimitive(flag)));
    if (value instanceof Number number)
      return new JsonObject(Map.of(name, JsonElementKt.JsonPrimitive(number)));
    return new JsonObject(Map.of(name, JsonElementKt.JsonPrimitive((String) value)));
  }

  private static Function1<BaseEvent, BaseEvent> by(int user) {
    return event -> {
      event.setUserId(String.valueOf(user));
      return event;
    };
  }

  private static Function1<BaseEvent, BaseEvent> by(int user, String timestamp) {
    return event -> {
      event.setUserId(String.valueOf(user));
      event.setTimestamp(timestamp);
      return event;
    };
  }

  /** The library has no callback for sent calls. It logs the name of the sent file. */
  private final class UploadLogger implements Logger {
    @Override
    public void parseLog(LogMessage log) {
      if (log.getMessage().equals(STARTED)) started.countDown();
      if (log.getMessage().equals(HELD) && started.getCount() == 0) noteHeldCalls();
      Matcher uploaded = UPLOADED.matcher(log.getMessage());
      if (uploaded.find()) report(uploaded.group(1));
      else if (log.getKind() != LogKind.DEBUG) System.err.println(log.getMessage());
    }

    private void noteHeldCalls() {
      if (!holdsCalls) System.out.println("note the library kept calls until it was enabled again");
      holdsCalls = true;
    }

    private void report(String file) {
      try (InputStream batch = analytics.getStorage().readAsStream(file)) {
        Matcher user = USER.matcher(new String(batch.readAllBytes(), StandardCharsets.UTF_8));
        while (user.find()) {
          System.out.println("sent " + user.group(1));
          open.countDown();
        }
      } catch (IOException err) {
        throw new IllegalStateException(err);
      }
    }
  }
}
