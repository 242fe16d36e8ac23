package lambdad;

import com.amazonaws.services.lambda.runtime.api.client.AWSLambda;
import com.amazonaws.services.lambda.runtime.api.client.runtimeapi.JniHelper;
import com.amazonaws.services.lambda.runtime.serialization.PojoSerializer;
import com.amazonaws.services.lambda.runtime.serialization.factories.GsonFactory;
import com.amazonaws.services.lambda.runtime.serialization.factories.JacksonFactory;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import java.util.Map;

/**
 * Starts AWS's runtime interface client for Java: at once, or ahead of demand as a stem cell.
 *
 * <p>With LAMBDAD_STEM_FD=n the virtual machine boots, loads what every function needs, and becomes a function when one line of JSON
 * arrives on descriptor n: {"environment": {"_HANDLER": "example.Handler::handleRequest", ...}, "cwd": "/var/task"}. The descriptor must
 * block when it is read; when it ends first, so does this process. Before it reads, it closes descriptor LAMBDAD_STEM_READY_FD, if there
 * is one. What Java cannot do by itself is in process.c.
 *
 * <p>Compiled for Java 8 by `lambdad runtimes install java`, beside AWS's jars.
 */
public final class Bootstrap {
    private static final String CLIENTS_LIBRARY = "com.amazonaws.services.lambda.runtime.api.client.runtimeapi.NativeClient.JNI";

    private static final String CLIENT = "com.amazonaws.services.lambda.runtime.";

    /** Parts of AWS's client that take their time to initialise, and read no variable of the environment then. */
    private static final String[] READY_MADE = {
        "api.client.CustomerClassLoader",
        "api.client.EventHandlerLoader",
        "api.client.HandlerInfo",
        "api.client.api.LambdaClientContext",
        "api.client.logging.FramedTelemetryLogSink",
        "api.client.logging.JsonLogFormatter",
        "api.client.logging.TextLogFormatter",
        "api.client.util.LambdaOutputStream",
        "api.client.util.UnsafeUtil",
        "serialization.events.LambdaEventSerializers",
    };

    private Bootstrap() {}

    public static void main(String[] arguments) throws Throwable {
        File libraries = new File(new File(System.getProperty("java.class.path")).getAbsoluteFile().getParentFile(), "native");
        File client = new File(libraries, "libaws-lambda-jni.so");
        if (client.isFile()) {
            System.setProperty(CLIENTS_LIBRARY, client.getPath()); // else it unpacks its library to /tmp at each start
        }
        String stem = System.getenv("LAMBDAD_STEM_FD");
        if (stem != null) {
            System.load(new File(libraries, "liblambdad.so").getPath());
            prepare();
            String ready = System.getenv("LAMBDAD_STEM_READY_FD");
            if (ready != null) {
                close(Integer.parseInt(ready));
            }
            becomeFunction(Integer.parseInt(stem));
        }
        AWSLambda.main(new String[] {System.getenv("_HANDLER")});
    }

    /** Load and try what the first invocation of any function needs; nothing that reads the environment may be initialised here. */
    private static void prepare() {
        JniHelper.load();
        try {
            String name = "networkaddress.cache.negative.ttl"; // AWS's client sets it, and the first to set one makes a logger
            String value = Security.getProperty(name);
            Security.setProperty(name, value == null ? "10" : value);
            for (String part : READY_MADE) {
                Class.forName(CLIENT + part);
            }
            // AWS's client has one reader for each type of event, and what they share takes most of its first invocation.
            byte[] event = "{\"a\":[1,2.5,\"b\",null,true]}".getBytes(StandardCharsets.US_ASCII);
            JacksonFactory jackson = JacksonFactory.getInstance();
            Object read = jackson.getSerializer(Map.class).fromJson(new ByteArrayInputStream(event));
            write(jackson.getSerializer(Object.class), read);
            write(jackson.getSerializer(Map.class), read);
            write(jackson.getSerializer(String.class), "a");
        } catch (ClassNotFoundException | RuntimeException | LinkageError missing) {
            // then the first invocation does without
        }
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private static void write(PojoSerializer serializer, Object value) {
        serializer.toJson(value, new ByteArrayOutputStream());
    }

    private static Map<?, ?> parse(byte[] json) {
        PojoSerializer<?> serializer = GsonFactory.getInstance().getSerializer(Map.class);
        return (Map<?, ?>) serializer.fromJson(new ByteArrayInputStream(json));
    }

    private static void becomeFunction(int descriptor) {
        ByteArrayOutputStream line = new ByteArrayOutputStream(8192);
        byte[] chunk = new byte[65536];
        for (boolean whole = false; !whole; ) {
            int size = read(descriptor, chunk);
            if (size <= 0) {
                Runtime.getRuntime().halt(0); // there will be no function
            }
            line.write(chunk, 0, size);
            whole = chunk[size - 1] == '\n';
        }
        Map<?, ?> function = parse(line.toByteArray());
        @SuppressWarnings("unchecked")
        Map<String, String> environment = (Map<String, String>) function.get("environment");
        byte[][] pairs = new byte[environment.size()][];
        int count = 0;
        for (Map.Entry<String, String> one : environment.entrySet()) {
            pairs[count++] = (one.getKey() + "=" + one.getValue() + "\0").getBytes(StandardCharsets.UTF_8);
        }
        Object directory = function.get("cwd");
        close(descriptor);
        become(pairs, directory == null ? null : (directory + "\0").getBytes(StandardCharsets.UTF_8));
        Map<String, String> shown = variables();
        shown.clear();
        shown.putAll(environment);
        if (directory != null) {
            System.setProperty("user.dir", directory.toString()); // where AWS's client looks for the function's code
        }
    }

    /** Read some bytes; 0 at the end. */
    private static native int read(int descriptor, byte[] chunk);

    private static native void close(int descriptor);

    /** Give the process an environment (each "NAME=value\0") and a working directory ("path\0"; null keeps it). */
    private static native void become(byte[][] environment, byte[] directory);

    /** Return the map behind System.getenv, and behind the environment of child processes; it was read when the process started. */
    private static native Map<String, String> variables();
}
