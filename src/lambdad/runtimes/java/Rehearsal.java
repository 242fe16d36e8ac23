package lambdad;

import java.util.Map;

/** The function of the rehearsal that tells which classes every function needs; it runs when the runtime is installed. */
public final class Rehearsal {
    public Object handleRequest(Map<String, Object> event) {
        if (event.containsKey("exit")) {
            System.exit(0);
        }
        System.out.println("rehearsed");
        return event;
    }
}
