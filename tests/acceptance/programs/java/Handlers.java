package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;

/** Handlers of every form that AWS's Java runtimes know. */
public class Handlers implements RequestHandler<Map<String, Object>, Object> {
    static int count;

    @Override
    public Object handleRequest(Map<String, Object> event, Context context) {
        Map<String, Object> answer = new LinkedHashMap<>();
        answer.put("event", event);
        answer.put("id", context.getAwsRequestId());
        answer.put("arn", context.getInvokedFunctionArn());
        answer.put("name", context.getFunctionName());
        answer.put("version", context.getFunctionVersion());
        answer.put("memory", context.getMemoryLimitInMB());
        answer.put("group", context.getLogGroupName());
        answer.put("left", context.getRemainingTimeInMillis());
        answer.put("custom", context.getClientContext() == null ? null : context.getClientContext().getCustom());
        answer.put("trace", System.getProperty("com.amazonaws.xray.traceHeader"));
        answer.put("count", ++count);
        return answer;
    }

    public static class Person {
        private String name;
        private int age;

        public String getName() { return name; }
        public void setName(String name) { this.name = name; }
        public int getAge() { return age; }
        public void setAge(int age) { this.age = age; }
    }

    public Person older(Person person, Context context) {
        person.setAge(person.getAge() + 1);
        return person;
    }

    public String text(String event) {
        return "got " + event;
    }

    public Map<String, Object> process(Map<String, Object> event) throws Exception {
        Map<String, Object> answer = new TreeMap<>();
        answer.put("environment", new TreeMap<>(System.getenv()));
        answer.put("heap", Runtime.getRuntime().maxMemory());
        answer.put("directory", System.getProperty("user.dir"));
        answer.put("home", System.getProperty("java.home"));
        answer.put("version", System.getProperty("java.specification.version"));
        answer.put("options", java.lang.management.ManagementFactory.getRuntimeMXBean().getInputArguments());
        answer.put("file", Files.exists(Paths.get("data.txt")) ? new String(Files.readAllBytes(Paths.get("data.txt")), "UTF-8") : null);
        Process child = new ProcessBuilder("/bin/sh", "-c", "echo $CUSTOM; pwd").redirectErrorStream(true).start();
        answer.put("child", new java.util.Scanner(child.getInputStream()).useDelimiter("\\A").next());
        return answer;
    }

    public Object log(Map<String, Object> event, Context context) {
        LambdaLogger logger = context.getLogger();
        System.out.println("printed");
        logger.log("one\ntwo\n");
        logger.log("careful", LogLevel.WARN);
        logger.log("quiet", LogLevel.DEBUG);
        return null;
    }

    public Object fail(Map<String, Object> event) {
        Object how = event.get("do");
        if ("exit".equals(how)) System.exit(3);
        if ("memory".equals(how)) { java.util.List<byte[]> all = new java.util.ArrayList<>(); while (true) all.add(new byte[1 << 20]); }
        if ("sleep".equals(how)) try { Thread.sleep(30_000); } catch (InterruptedException e) { return null; }
        if ("cause".equals(how)) throw new IllegalStateException("outer", new IllegalArgumentException("inner"));
        throw new IllegalArgumentException("bad " + how);
    }

    public String layered() throws Exception {
        return (String) Class.forName("layer.Greeting", true, Thread.currentThread().getContextClassLoader()).getMethod("say").invoke(null);
    }

    public String loaded() throws Exception {
        return new String(Files.readAllBytes(Paths.get("/tmp/loaded")), "UTF-8");
    }

    public static class Streams implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream input, OutputStream output, Context context) throws IOException {
            byte[] chunk = new byte[65536];
            for (int size = input.read(chunk); size >= 0; size = input.read(chunk)) output.write(chunk, 0, size);
        }
    }

    public static class Broken {
        static { if (true) throw new IllegalStateException("not today"); }
        public Object handle(Map<String, Object> event) { return event; }
    }
}
