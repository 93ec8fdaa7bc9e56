package demo;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.cloud.netflix.eureka.server.EnableEurekaServer;
import org.springframework.context.annotation.Configuration;

/** A Eureka server for tests; its settings are arguments ("--server.port=8761"). */
@Configuration
@EnableAutoConfiguration
@EnableEurekaServer
public class Server {
    public static void main(String[] args) {
        SpringApplication app = new SpringApplication(Server.class);
        app.setDefaultProperties(java.util.Map.of(
                "eureka.client.register-with-eureka", "false",
                "eureka.client.fetch-registry", "false"));
        app.run(args);
    }
}
