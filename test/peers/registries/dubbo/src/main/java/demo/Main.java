package demo;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.Executors;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;

/** A provider ("provide NAME REGISTRY"), or a page that calls one ("consume REGISTRY"), for tests of the mesh. */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        System.setProperty("dubbo.application.logger", "slf4j");
        if (args[0].equals("provide")) {
            provide(args[1], args[2]);
        } else {
            consume(args[1]);
        }
        Thread.currentThread().join();
    }

    private static DubboBootstrap bootstrap(String name, String registry) {
        ApplicationConfig app = new ApplicationConfig(name);
        app.setQosEnable(false);
        RegistryConfig at = new RegistryConfig(registry);
        at.setTimeout(60000);
        return DubboBootstrap.newInstance().application(app).registry(at);
    }

    private static void provide(String name, String registry) {
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setRef(who -> name + " greets " + who + " user=" + RpcContext.getServerAttachment().getAttachment("user"));
        Map<String, String> parameters = new HashMap<>();
        parameters.put("track", name);
        service.setParameters(parameters);
        bootstrap("provider-" + name, registry).protocol(new ProtocolConfig("dubbo", 20880)).service(service).start();
    }

    private static void consume(String registry) throws IOException {
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setCheck(false);
        reference.setRetries(0);
        reference.setTimeout(10000);
        bootstrap("consumer", registry).reference(reference).start();
        Greeter greeter = reference.get();
        HttpServer server = HttpServer.create(new InetSocketAddress(9080), 64);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", x -> answer(x, greeter));
        server.start();
    }

    private static void answer(HttpExchange x, Greeter greeter) throws IOException {
        String query = x.getRequestURI().getQuery();
        String text = "ready";
        int code = 200;
        if (query != null) {
            String user = query.startsWith("user=") ? query.substring(5) : "";
            if (!user.isEmpty()) {
                RpcContext.getClientAttachment().setAttachment("user", user);
            }
            try {
                text = greeter.greet("you");
            } catch (RuntimeException e) {
                code = 502;
                text = e.toString();
            }
        }
        byte[] body = (text + "\n").getBytes(StandardCharsets.UTF_8);
        x.sendResponseHeaders(code, body.length);
        x.getResponseBody().write(body);
        x.close();
    }
}
