import com.segment.analytics.Analytics;
import com.segment.analytics.Callback;
import com.segment.analytics.messages.AliasMessage;
import com.segment.analytics.messages.GroupMessage;
import com.segment.analytics.messages.IdentifyMessage;
import com.segment.analytics.messages.Message;
import com.segment.analytics.messages.MessageBuilder;
import com.segment.analytics.messages.PageMessage;
import com.segment.analytics.messages.ScreenMessage;
import com.segment.analytics.messages.TrackMessage;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Date;
import java.util.Map;
import java.util.concurrent.Phaser;
import java.util.concurrent.TimeUnit;
import okhttp3.Interceptor;
import okhttp3.MediaType;
import okhttp3.OkHttpClient;
import okhttp3.Request;
import okhttp3.RequestBody;
import okhttp3.Response;
import okio.BufferedSink;
import okio.GzipSink;
import okio.Okio;

/** Sends calls by analytics-java. Arguments and output: see ../client.ts. */
public final class Client {
  /** Has a party for each call whose result the library has not reported. */
  private static final Phaser OPEN = new Phaser(1);

  public static void main(String[] args) throws Exception {
    if (args[0].equals("version")) {
      System.out.println("Java " + Runtime.version().feature() + ", analytics-java " + version());
      return;
    }
    boolean sends = args[0].equals("send");
    int count = sends ? Integer.parseInt(args[1]) : 6;
    int batch = sends ? Integer.parseInt(args[2]) : 100;
    int pauseMs = sends ? Integer.parseInt(args[3]) : 0;
    Analytics analytics = open(batch);
    if (sends) send(analytics, count, batch, pauseMs);
    else callEach(analytics);
    analytics.flush();
    OPEN.arriveAndAwaitAdvance();
    analytics.shutdown();
    // Threads of OkHttp run for another minute.
    System.exit(0);
  }

  private static Analytics open(int batch) {
    OkHttpClient.Builder http = new OkHttpClient.Builder();
    if (System.getenv("CLIENT_GZIP").equals("on")) http.addInterceptor(Client::zipped);
    return Analytics.builder(System.getenv("CLIENT_WRITE_KEY"))
        .endpoint(System.getenv("CLIENT_URL"))
        .client(http.build())
        .flushQueueSize(batch)
        .flushInterval(1, TimeUnit.SECONDS)
        .callback(new Reporter())
        .build();
  }

  private static void callEach(Analytics analytics) {
    Date happened = Date.from(Instant.parse("2026-01-02T03:04:05Z"));
    enqueue(analytics, IdentifyMessage.builder().userId("1").traits(Map.of("plan", "pro")));
    enqueue(
        analytics,
        TrackMessage.builder("Signed Up")
            .userId("2")
            .properties(Map.of("seats", 3))
            .timestamp(happened));
    enqueue(analytics, PageMessage.builder("Start").userId("3").properties(Map.of("path", "/")));
    enqueue(analytics, ScreenMessage.builder("Home").userId("4").properties(Map.of("dark", true)));
    enqueue(analytics, GroupMessage.builder("g1").userId("5").traits(Map.of("name", "Acme")));
    enqueue(analytics, AliasMessage.builder("a1").userId("6"));
  }

  private static void send(Analytics analytics, int count, int batch, int pauseMs)
      throws InterruptedException, IOException {
    for (int n = 1; n <= count; n++) {
      enqueue(
          analytics,
          TrackMessage.builder("Counted").userId(String.valueOf(n)).properties(Map.of("n", n)));
      if (n == count / 4) {
        analytics.flush();
        OPEN.arriveAndAwaitAdvance();
      }
      if (n == count / 4 * 3) System.in.read();
      if (n % batch == 0) Thread.sleep(pauseMs);
    }
  }

  private static void enqueue(Analytics analytics, MessageBuilder<?, ?> message) {
    OPEN.register();
    analytics.enqueue(message);
  }

  /** Compresses as the library's sample does. The library has no setting for it. */
  private static Response zipped(Interceptor.Chain chain) throws IOException {
    Request request = chain.request();
    RequestBody body = request.body();
    RequestBody zipped =
        new RequestBody() {
          @Override
          public MediaType contentType() {
            return body.contentType();
          }

          @Override
          public void writeTo(BufferedSink sink) throws IOException {
            try (BufferedSink gzip = Okio.buffer(new GzipSink(sink))) {
              body.writeTo(gzip);
            }
          }
        };
    return chain.proceed(
        request
            .newBuilder()
            .header("Content-Encoding", "gzip")
            .method(request.method(), zipped)
            .build());
  }

  /** The version is in the name of the library's archive, not in its classes. */
  private static String version() throws Exception {
    Path archive =
        Path.of(Analytics.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    return archive.getFileName().toString().replaceAll("^analytics-|\\.jar$", "");
  }

  private static final class Reporter implements Callback {
    @Override
    public void success(Message message) {
      System.out.println("sent " + message.userId());
      OPEN.arriveAndDeregister();
    }

    @Override
    public void failure(Message message, Throwable error) {
      System.out.println("lost " + message.userId() + " " + error);
      OPEN.arriveAndDeregister();
    }
  }
}
