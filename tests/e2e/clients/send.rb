# Ruby's net/smtp: ruby send.rb JOB (clients/__init__.py), the message on standard input. Prints the server's reply.
require "json"
require "net/smtp"
require "openssl"

job = JSON.parse(ARGV[0])
context = OpenSSL::SSL::SSLContext.new
context.ca_file = job["ca"]
context.verify_mode = OpenSSL::SSL::VERIFY_PEER
smtp = Net::SMTP.new("localhost", job["port"])
job["implicit"] ? smtp.enable_tls(context) : smtp.enable_starttls(context)
begin
  smtp.start(helo: "client.test", user: job["user"], secret: job["password"], authtype: job["mechanism"].to_sym) do
    puts smtp.send_message($stdin.binmode.read, job["sender"], *job["recipients"]).string
  end
rescue Net::SMTPError => problem
  warn "#{problem.class}: #{problem.message}"
  exit 1
end
