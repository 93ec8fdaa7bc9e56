package demo;

import java.util.Map;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Configuration;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/**
 * A program that registers itself in Eureka as Spring's programs do, and says its name to whoever asks. Its settings are
 * arguments ("--spring.application.name=shop").
 */
@Configuration
@EnableAutoConfiguration
public class Client {
    public static void main(String[] args) {
        SpringApplication app = new SpringApplication(Client.class, Page.class);
        app.setDefaultProperties(Map.of(
                "eureka.client.fetch-registry", "false",
                "eureka.client.jersey.enabled", "false", // which the server's libraries are in the way of
                "eureka.instance.prefer-ip-address", "true"));
        app.run(args);
    }

    /** What it serves. */
    @RestController
    public static class Page {
        private final String version;

        public Page(org.springframework.core.env.Environment env) {
            version = env.getProperty("eureka.instance.metadata-map.version", "none");
        }

        @GetMapping("/echo/name")
        public String name() {
            return version;
        }
    }
}
