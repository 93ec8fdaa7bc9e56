package demo;

public interface Greeter {
    String greet(String name);
}
