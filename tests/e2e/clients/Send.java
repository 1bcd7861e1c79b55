// JavaMail (Debian's libmail-java): java Send PORT IMPLICIT USER PASSWORD TRUSTSTORE SENDER RECIPIENT,… SUBJECT TEXT ATTACHMENT FILENAME.
// Prints the server's reply.
import com.sun.mail.smtp.SMTPTransport;
import java.io.File;
import java.util.Properties;
import javax.activation.DataHandler;
import javax.activation.FileDataSource;
import javax.mail.Message;
import javax.mail.MessagingException;
import javax.mail.Session;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeBodyPart;
import javax.mail.internet.MimeMessage;
import javax.mail.internet.MimeMultipart;

public class Send {
    static MimeMessage compose(Session session, String[] a) throws Exception {
        MimeMessage message = new MimeMessage(session);
        message.setFrom(new InternetAddress(a[5]));
        message.setRecipients(Message.RecipientType.TO, InternetAddress.parse(a[6]));
        message.setSubject(a[7], "UTF-8");
        MimeBodyPart text = new MimeBodyPart(), attachment = new MimeBodyPart();
        text.setText(a[8], "UTF-8");
        attachment.setDataHandler(new DataHandler(new FileDataSource(new File(a[9]))));
        attachment.setFileName(a[10]);
        message.setContent(new MimeMultipart(text, attachment));
        message.saveChanges();
        return message;
    }

    public static void main(String[] a) throws Exception {
        boolean implicit = Boolean.parseBoolean(a[1]);
        String protocol = implicit ? "smtps" : "smtp";
        Properties p = new Properties();
        p.setProperty("mail." + protocol + ".auth", "true");
        p.setProperty("mail.smtp.starttls.required", "true");
        p.setProperty("mail." + protocol + ".ssl.checkserveridentity", "true");
        System.setProperty("javax.net.ssl.trustStore", a[4]);
        System.setProperty("javax.net.ssl.trustStoreType", "PKCS12");
        System.setProperty("javax.net.ssl.trustStorePassword", "changeit");
        Session session = Session.getInstance(p);
        try (SMTPTransport transport = (SMTPTransport) session.getTransport(protocol)) {
            transport.connect("localhost", Integer.parseInt(a[0]), a[2], a[3]);
            MimeMessage message = compose(session, a);
            transport.sendMessage(message, message.getAllRecipients());
            System.out.print(transport.getLastServerResponse());
        } catch (MessagingException problem) {
            System.err.println(problem.getClass().getSimpleName() + ": " + problem.getMessage());
            System.exit(1);
        }
    }
}
