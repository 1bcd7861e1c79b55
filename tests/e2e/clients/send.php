<?php
// PHPMailer (Debian's libphp-phpmailer): php send.php JOB (clients/__init__.py). Prints the id that it finds in the reply.
require "/usr/share/php/libphp-phpmailer/autoload.php";

use PHPMailer\PHPMailer\Exception;
use PHPMailer\PHPMailer\PHPMailer;

$job = json_decode($argv[1]);
$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = "localhost";
$mail->Port = $job->port;
$mail->SMTPSecure = $job->implicit ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPOptions = ["ssl" => ["cafile" => $job->ca]];
$mail->SMTPAuth = true;
$mail->Username = $job->user;
$mail->Password = $job->password;
$trouble = "";
$mail->SMTPDebug = 1;
$mail->Debugoutput = function ($line) use (&$trouble) {
    $trouble .= str_starts_with($line, "SMTP ERROR") ? trim($line) . "\n" : "";
};
$mail->CharSet = PHPMailer::CHARSET_UTF8;
try {
    $mail->setFrom($job->sender);
    foreach ($job->recipients as $recipient) {
        $mail->addAddress($recipient);
    }
    $mail->Subject = $job->subject;
    $mail->Body = $job->text;
    $mail->addAttachment($job->attachment, $job->filename);
    $mail->send();
    echo "queued as ", $mail->getSMTPInstance()->getLastTransactionID(), "\n";
} catch (Exception $problem) {
    fwrite(STDERR, $problem->getMessage() . "\n" . $trouble);
    exit(1);
}
