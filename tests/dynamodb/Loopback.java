import java.net.InetSocketAddress;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.handler.ContextHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBRequestHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBServerHandler;

/**
 * DynamoDB Local on 127.0.0.1: its own command listens on every address of the machine and has no option against it.
 * Prints its port, and ends when its standard input does: with its parent, however that dies.
 */
class Loopback {
    public static void main(String[] arguments) throws Exception {
        // One database in memory for all credentials and regions, as an account has one table for all its keys.
        boolean inMemory = true, shared = true, delayTransientStatuses = false;
        var requests = new LocalDynamoDBRequestHandler(0, inMemory, null, shared, delayTransientStatuses);
        var handler = new LocalDynamoDBServerHandler(requests, null);
        var server = new Server(new InetSocketAddress("127.0.0.1", 0));
        server.setHandler(new ContextHandler(handler));
        server.start();
        System.out.println(((ServerConnector) server.getConnectors()[0]).getLocalPort());
        while (System.in.read() >= 0) {}
        Runtime.getRuntime().halt(0);
    }
}
