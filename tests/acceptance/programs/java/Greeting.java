package layer;

public class Greeting {
    public static String say() {
        return "from a layer";
    }
}
