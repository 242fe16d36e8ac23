# frozen_string_literal: true

# The managed Ruby runtime: loads the handler, asks the Runtime API for events, posts what the handler returns.
#
# One file, standard library only, Ruby 3.0 or newer: it is bound to /var/runtime/bootstrap.rb and started as `ruby bootstrap.rb`.
# With LAMBDAD_STEM_FD=n it boots ahead of demand and becomes a function when one line of JSON arrives on descriptor n:
# {"environment": {"_HANDLER": "app.handler", ...}, "cwd": "/var/task"}. The descriptor must block when it is read.
# Before it reads, it closes descriptor LAMBDAD_STEM_READY_FD, if there is one.
#
# Source: Lambda Developer Guide, "Using the Lambda runtime API", "Define Lambda function handler in Ruby",
# "Log and monitor Ruby Lambda functions"; payloads and log lines as AWS's runtime interface client for Ruby writes them.

require "json"
require "logger"
require "socket"
require "stringio"
require "time"

module LambdadRuntime
  API = "/2018-06-01/runtime/"
  FRAME_TEXT = 0xa55a0003 # AWS's mark of a framed log record
  MAX_FRAME_BYTES = 256 * 1024 - 32 # of a log event; longer records become several
  MAX_TRACE_LINES = 100
  MAX_CAUSE_BYTES = 8192 # of the X-Ray cause header: a server may refuse long heads
  EXIT_AFTER_CRITICAL = 255
  EXIT_AFTER_INIT = 252
  LEVELS = {
    "TRACE" => Logger::DEBUG, "DEBUG" => Logger::DEBUG, "INFO" => Logger::INFO,
    "WARN" => Logger::WARN, "ERROR" => Logger::ERROR, "FATAL" => Logger::FATAL
  }.freeze

  class << self
    attr_accessor :request_id, :tenant_id, :sink
  end

  # One connection to the Runtime API, kept open; made again when the other side has closed it.
  class Api
    Answer = Struct.new(:status, :headers, :body)

    def initialize(address)
      @host, _, @port = address.rpartition(":")
      @address = address
      @socket = nil
    end

    def next_event
      exchange("GET", "invocation/next", {}, nil)
    end

    # Post a String, or what an IO gives until its end.
    def post(path, body, headers)
      exchange("POST", path, headers, body)
    end

    private

    def exchange(method, path, headers, body)
      lines = ["#{method} #{API}#{path} HTTP/1.1", "Host: #{@address}", "User-Agent: lambdad-ruby"]
      headers.each { |name, value| lines << "#{name}: #{value}" }
      lines << "Content-Length: #{body.bytesize}" if body
      message = "#{lines.join("\r\n")}\r\n\r\n".b
      message << body.b if body
      2.times do |attempt|
        kept = !@socket.nil?
        begin
          @socket ||= connect
          @socket.write(message)
          line = @socket.gets("\r\n")
          raise EOFError, "the Runtime API closed the connection" if line.nil?
          return receive(line)
        rescue SystemCallError, EOFError
          close
          raise if attempt.positive? || !kept
        end
      end
    end

    def connect
      socket = TCPSocket.new(@host, @port.to_i)
      socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
      socket.binmode
      socket
    end

    def close
      @socket&.close
      @socket = nil
    end

    def receive(line)
      status = line[9, 3].to_i
      headers = {}
      while (header = read_line) != ""
        name, value = header.split(":", 2)
        headers[name.downcase] = value.to_s.strip.force_encoding("UTF-8")
      end
      return receive(@socket.gets("\r\n")) if status < 200 # an interim answer
      body = headers["transfer-encoding"].to_s.include?("chunked") ? read_chunks : read_bytes(headers["content-length"].to_i)
      close if headers["connection"].to_s.casecmp?("close")
      Answer.new(status, headers, body)
    end

    def read_line
      line = @socket.gets("\r\n")
      raise EOFError, "the Runtime API closed the connection" if line.nil?
      line.chomp("\r\n")
    end

    def read_bytes(size)
      return +"" if size.zero?
      body = @socket.read(size)
      raise EOFError, "the Runtime API closed the connection in the middle of a body" if body.nil? || body.bytesize < size
      body
    end

    def read_chunks
      body = +"".b
      while (size = read_line.split(";").first.to_i(16)).positive?
        body << read_bytes(size)
        read_line
      end
      nil while read_line != "" # trailers
      body
    end
  end

  # Writes log records to standard output; the platform splits them at newlines.
  class PipeSink
    def write(text)
      text = text.to_s
      $stdout.write(text.end_with?("\n") ? text : "#{text}\n")
      $stdout.flush
    end

    def close; end

    def reopen(*) = self
  end

  # Writes each record in a frame of its own, so that one with newlines stays one log event.
  # Frame, big endian: 4 bytes mark, 4 bytes length, 8 bytes Unix time in microseconds, the text in UTF-8.
  class FrameSink
    def initialize(descriptor)
      @io = IO.for_fd(descriptor, "wb", autoclose: false)
      @io.sync = true
      @lock = Mutex.new
    end

    def write(text)
      $stdout.flush # what was printed before stays before
      microseconds = Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)
      data = LambdadRuntime.clean(text.to_s).b
      @lock.synchronize do
        loop do
          part = data.byteslice(0, MAX_FRAME_BYTES)
          data = data.byteslice(part.bytesize..-1)
          @io.write([FRAME_TEXT, part.bytesize, microseconds].pack("L>L>Q>") << part)
          break if data.empty?
        end
      end
    end

    def close; end

    def reopen(*) = self
  end

  # The text of Logger's records: Ruby's own with the request's id.
  class TextFormatter < Logger::Formatter
    def call(severity, time, progname, message)
      stamp = time.strftime(@datetime_format || "%Y-%m-%dT%H:%M:%S.%6N")
      request = LambdadRuntime.request_id
      "#{severity[0]}, [#{stamp} ##{Process.pid}] #{severity.rjust(5)} #{request} -- #{progname}: #{msg2str(message)}\n"
    end
  end

  # One JSON object for each of Logger's records.
  class JsonFormatter < Logger::Formatter
    def call(severity, time, progname, message)
      text = message.is_a?(Exception) ? message.message : msg2str(message)
      line = { timestamp: LambdadRuntime.stamp(time), level: severity, message: LambdadRuntime.clean(text), requestId: LambdadRuntime.request_id }
      line[:tenantId] = LambdadRuntime.tenant_id
      line[:logger] = progname.to_s unless progname.nil? || progname.to_s.empty?
      line.merge!(LambdadRuntime.describe(message)) if message.is_a?(Exception)
      "#{JSON.generate(line.compact)}\n"
    end
  end

  # Makes every Logger on standard output or error write through the sink, in the function's log format.
  module LoggerPatch
    def initialize(device = nil, *rest, **options)
      ours = device.nil? || device.equal?($stdout) || device.equal?($stderr)
      super(ours ? LambdadRuntime.sink : device, *rest, **options)
      return unless ours
      @default_formatter = LambdadRuntime.json_logs? ? JsonFormatter.new : TextFormatter.new
      self.level = LEVELS.fetch(ENV.fetch("AWS_LAMBDA_LOG_LEVEL", "INFO").upcase, Logger::INFO) if LambdadRuntime.json_logs? && !options.key?(:level)
    end
  end

  # Kernel#puts writes one record.
  module KernelPatch
    private

    def puts(*values)
      LambdadRuntime.sink.write("#{values.flatten.map { |value| LambdadRuntime.clean(value.to_s) }.join("\n")}\n")
      nil
    end
  end

  # The `context:` of every handler.
  class Context
    attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name, :memory_limit_in_mb,
                :function_version, :identity, :client_context, :deadline_ms, :tenant_id

    def initialize(headers)
      @deadline_ms = headers["lambda-runtime-deadline-ms"].to_i
      @aws_request_id = headers["lambda-runtime-aws-request-id"]
      @invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
      @tenant_id = headers["lambda-runtime-aws-tenant-id"]
      @log_group_name = ENV["AWS_LAMBDA_LOG_GROUP_NAME"]
      @log_stream_name = ENV["AWS_LAMBDA_LOG_STREAM_NAME"]
      @function_name = ENV["AWS_LAMBDA_FUNCTION_NAME"]
      @memory_limit_in_mb = ENV["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
      @function_version = ENV["AWS_LAMBDA_FUNCTION_VERSION"]
      @identity = parse(headers["lambda-runtime-cognito-identity"])
      @client_context = parse(headers["lambda-runtime-client-context"])
    end

    def get_remaining_time_in_millis
      [@deadline_ms - Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond), 0].max
    end

    private

    def parse(header) = header && JSON.parse(header)
  end

  module_function

  # AWS's Ruby writes JSON from ruby4.0 on.
  def json_logs?
    ENV["AWS_LAMBDA_LOG_FORMAT"] == "JSON" && ENV["AWS_EXECUTION_ENV"].to_s[/ruby(\d+)/, 1].to_i >= 4
  end

  def stamp(time) = time.getutc.strftime("%Y-%m-%dT%H:%M:%S.%LZ")

  # Return a copy in valid UTF-8.
  def clean(text)
    return text.dup.force_encoding(Encoding::UTF_8).scrub if [Encoding::UTF_8, Encoding::BINARY, Encoding::US_ASCII].include?(text.encoding)
    text.encode(Encoding::UTF_8, invalid: :replace, undef: :replace)
  end

  def trace(error)
    own = File.expand_path(__FILE__)
    lines = error.backtrace_locations || []
    lines = lines.take_while { |line| line.absolute_path != own } if lines.any? && lines.first.absolute_path != own
    lines.first(MAX_TRACE_LINES).map(&:to_s)
  end

  def describe(error)
    { errorType: error.class.to_s, errorMessage: clean(error.message), stackTrace: Array(error.backtrace).map { |line| clean(line) } }
  end

  # Return an error's message without the hints that some releases of Ruby add to it.
  def message(error) = clean(error.respond_to?(:original_message) ? error.original_message : error.message)

  # Turn an exception into the payload that the caller sees; `kind` is "Function" or "Init".
  def payload(error, kind)
    { "errorMessage" => message(error), "errorType" => "#{kind}<#{error.class}>", "stackTrace" => trace(error) }
  end

  def cause(error, payload)
    stack = payload["stackTrace"].map do |line|
      path, number, label = line.split(":", 3)
      { "label" => label.to_s.delete_prefix("in `").delete_prefix("in '").chomp("'"), "path" => path, "line" => number.to_i }
    end
    exceptions = [{ "type" => payload["errorType"], "message" => payload["errorMessage"], "stack" => stack }]
    JSON.generate("working_directory" => Dir.pwd, "exceptions" => exceptions, "paths" => stack.map { |frame| frame["path"] }.uniq)
        .gsub(/[^\x20-\x7e]/) { |letter| letter.encode("UTF-16BE").unpack("n*").map { |unit| format("\\u%04x", unit) }.join }
  end

  def log_failure(title, payload)
    if json_logs?
      line = { timestamp: stamp(Time.now), level: "ERROR", message: title, requestId: request_id_or_nil, **payload.transform_keys(&:to_sym) }
      return LambdadRuntime.sink.write("#{JSON.generate(line.compact)}\n")
    end
    LambdadRuntime.sink.write("#{title}\n")
    LambdadRuntime.sink.write("#{JSON.pretty_generate(payload)}\n")
  end

  def request_id_or_nil = LambdadRuntime.request_id

  def report(api, path, error, kind, title, echo = {})
    answer = payload(error, kind)
    log_failure(title, answer)
    headers = { "Content-Type" => "application/json", "Lambda-Runtime-Function-Error-Type" => answer["errorType"], **echo }
    why = cause(error, answer)
    headers["Lambda-Runtime-Function-XRay-Error-Cause"] = why if why.bytesize <= MAX_CAUSE_BYTES
    api.post(path, JSON.generate(answer), headers)
  end

  # Wait, in a stem cell, for the function that this process is to become; leave when there will be none.
  def await_function(descriptor)
    %w[bigdecimal date digest ostruct securerandom set tempfile tmpdir uri net/http openssl zlib].each do |name|
      require name
    rescue LoadError
      next # a Ruby built without it; the function's own require will say so
    end
    GC.start
    ready = ENV["LAMBDAD_STEM_READY_FD"]
    IO.for_fd(ready.to_i, "wb").close if ready.to_s.match?(/\A\d+\z/)
    io = IO.for_fd(descriptor, "rb")
    line = io.gets
    exit!(0) if line.nil?
    io.close
    given = JSON.parse(line.force_encoding(Encoding::UTF_8))
    ENV.replace(given["environment"])
    Dir.chdir(given["cwd"]) if given["cwd"]
    Gem.clear_paths if defined?(Gem) # GEM_PATH is read once
    srand
  end

  def open_logs
    $stdout.sync = true
    $stderr.sync = true
    descriptor = ENV["_LAMBDA_TELEMETRY_LOG_FD"]
    LambdadRuntime.sink = descriptor.to_s.match?(/\A\d+\z/) ? FrameSink.new(descriptor.to_i) : PipeSink.new
    Logger.prepend(LoggerPatch)
    Object.prepend(KernelPatch)
  end

  # Load the handler named file.method or file.Module::Class.method; return what calls it.
  def load_handler(name)
    file, *rest = name.split(".")
    unless [1, 2].include?(rest.size)
      raise ArgumentError, "Invalid handler #{name.split(".")}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME " \
                           "corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace and " \
                           "METHOD is a callable method. If using CLASS, METHOD must be a class-level method."
    end
    root = ENV.fetch("LAMBDA_TASK_ROOT", Dir.pwd)
    $LOAD_PATH.unshift(root) unless $LOAD_PATH.include?(root)
    require file
    method = rest.last
    return ->(event, context) { TOPLEVEL.__send__(method, event: event, context: context) } if rest.size == 1
    ->(event, context) { Object.const_get(rest.first).__send__(method, event: event, context: context) }
  end

  # Return the body and type of an answer: JSON, or the bytes of an IO as they are.
  def marshal(result)
    return [result.read.to_s, "application/unknown"] if result.is_a?(StringIO) || result.is_a?(IO)
    [result.to_json, "application/json"]
  end

  # Run the handler once and post its result or its error; return the exit status of a process that is not to go on, or nil.
  def invoke(api, handler, answer)
    headers = answer.headers
    LambdadRuntime.request_id = headers["lambda-runtime-aws-request-id"]
    LambdadRuntime.tenant_id = headers["lambda-runtime-aws-tenant-id"]
    ENV["_X_AMZN_TRACE_ID"] = headers["lambda-runtime-trace-id"]
    attempt = headers["lambda-runtime-invocation-id"]
    echo = attempt ? { "Lambda-Runtime-Invocation-Id" => attempt } : {}
    path = "invocation/#{LambdadRuntime.request_id}/"
    begin
      body, type = marshal(handler.call(JSON.parse(answer.body.force_encoding(Encoding::UTF_8)), Context.new(headers)))
    rescue NoMethodError, NameError => e
      failed, critical = e, true # AWS's client gives up the process on these, too
    rescue StandardError => e
      failed, critical = e, false
    rescue SystemExit
      raise
    rescue Exception => e # rubocop:disable Lint/RescueException
      failed, critical = e, true
    end
    if failed.nil?
      api.post("#{path}response", body, { "Content-Type" => type, **echo })
      return nil
    end
    report(api, "#{path}error", failed, "Function", critical ? "Critical exception from handler" : "Error raised from handler method", echo)
    critical ? EXIT_AFTER_CRITICAL : nil
  end

  def run
    stem = ENV["LAMBDAD_STEM_FD"]
    await_function(stem.to_i) if stem.to_s.match?(/\A\d+\z/)
    open_logs
    $PROGRAM_NAME = File.expand_path(__FILE__)
    api = Api.new(ENV.fetch("AWS_LAMBDA_RUNTIME_API"))
    name = ENV.fetch("_HANDLER", "")
    begin
      handler = load_handler(name)
    rescue SystemExit
      raise
    rescue Exception => e # rubocop:disable Lint/RescueException
      report(api, "init/error", e, "Init", "Init error when loading handler #{name}")
      exit(EXIT_AFTER_INIT)
    end
    loop do
      answer = api.next_event
      abort("the Runtime API answered #{answer.status} to invocation/next: #{answer.body}") if answer.status != 200
      status = invoke(api, handler, answer)
      exit(status) if status
    end
  end
end

LambdadRuntime::TOPLEVEL = self # where a file's own methods are
LambdadRuntime.run
