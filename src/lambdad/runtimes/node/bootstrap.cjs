/**
 * The managed Node.js runtime: loads the handler, asks the Runtime API for events, posts what the handler answers.
 *
 * One file, nothing but Node.js 18 or newer: it is bound to /var/runtime/bootstrap.cjs and started as `node [options] bootstrap.cjs`.
 * With LAMBDAD_STEM_FD=n it boots ahead of demand and becomes a function when one line of JSON arrives on descriptor n:
 * {"environment": {"_HANDLER": "index.handler", ...}, "cwd": "/var/task"}. The descriptor must block when it is read.
 * Before it reads, it closes descriptor LAMBDAD_STEM_READY_FD, if there is one.
 *
 * CommonJS, because it starts some milliseconds sooner than an ES module.
 *
 * Source: Lambda Developer Guide, "Using the Lambda runtime API", "Define Lambda function handler in Node.js",
 * "Response streaming for Lambda functions", "Log and monitor Node.js Lambda functions".
 */
"use strict";

const fs = require("node:fs");
const Module = require("node:module");
const net = require("node:net");
const path = require("node:path");
const url = require("node:url");
const util = require("node:util");

const API = "/2018-06-01/runtime/";
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const HIGH_WATER_MARK = Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark");
const FRAME_TEXT = 0xa55a0003; // AWS's mark of a framed log record
const MAX_FRAME_BYTES = 256 * 1024 - 32; // of a log event; longer records become several
const MAX_CAUSE_BYTES = 8192; // of the X-Ray cause header: a server may refuse long heads
const EXIT_AFTER_REJECTION = 128;
const EXIT_AFTER_EXCEPTION = 129;
const LEVELS = { TRACE: 0, DEBUG: 1, INFO: 2, WARN: 3, ERROR: 4, FATAL: 5 };

let requestId; // of the invocation that runs, or ran last; undefined during Init
let tenantId;

// --- The Runtime API over one keep-alive connection ------------------------------------------------------------------

/** One connection to the Runtime API with one request at a time, made again when the other side has closed it. */
class RuntimeApi {
  constructor(address) {
    const colon = address.lastIndexOf(":");
    this.host = address.slice(0, colon);
    this.port = Number(address.slice(colon + 1));
    this.ending = ` HTTP/1.1\r\nHost: ${address}\r\nUser-Agent: lambdad-nodejs\r\n`;
    this.socket = null;
    this.waiting = null; // {resolve, reject, bytes, fresh}
    this._reset();
  }

  /** Send a whole request; resolve to {status, headers, body}. */
  request(method, target, headers, body) {
    let head = `${method} ${API}${target}${this.ending}`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    if (body === undefined) return this._exchange(Buffer.from(head + "\r\n", "latin1"));
    const size = Buffer.byteLength(body);
    head += `Content-Length: ${size}\r\n\r\n`;
    const bytes = Buffer.allocUnsafe(head.length + size);
    bytes.latin1Write(head, 0);
    if (typeof body === "string") bytes.utf8Write(body, head.length);
    else body.copy(bytes, head.length);
    return this._exchange(bytes);
  }

  /** Send the head of a chunked request; return functions to send the rest, the last one resolving to the answer. */
  stream(target, headers) {
    let head = `POST ${API}${target}${this.ending}Transfer-Encoding: chunked\r\n`;
    for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
    const answer = this._exchange(Buffer.from(head + "\r\n", "latin1"), true);
    answer.catch(() => {}); // seen by whoever ends the stream
    const socket = this.socket;
    socket.unref(); // the handler still runs
    return {
      write(chunk, done) {
        if (!chunk.length) return done();
        socket.cork();
        socket.write(`${chunk.length.toString(16)}\r\n`, "latin1");
        socket.write(chunk);
        socket.write("\r\n", "latin1", done);
        socket.uncork();
      },
      end(trailers) {
        let tail = "0\r\n";
        for (const name in trailers) tail += `${name}: ${trailers[name]}\r\n`;
        socket.ref();
        socket.write(tail + "\r\n", "latin1");
        return answer;
      },
    };
  }

  /** Let the process's event loop be empty while a handler runs. */
  unref() {
    if (this.socket) this.socket.unref();
  }

  _exchange(bytes, once = false) {
    return new Promise((resolve, reject) => {
      const fresh = this.socket === null;
      if (fresh) this._connect();
      else this.socket.ref();
      this.waiting = { resolve, reject, bytes, final: fresh || once };
      this.socket.write(bytes);
    });
  }

  _connect() {
    const socket = net.connect({ host: this.host, port: this.port, noDelay: true });
    this.socket = socket;
    this._reset();
    socket.on("data", (chunk) => this._received(chunk));
    socket.on("error", (error) => this._lost(socket, error));
    socket.on("close", () => this._lost(socket, new Error("the Runtime API closed the connection")));
  }

  _lost(socket, error) {
    if (socket !== this.socket) return;
    this.socket = null;
    const waiting = this.waiting;
    if (!waiting) return;
    if (waiting.final || this.rest.length || this.head) return waiting.reject(error);
    waiting.final = true; // a kept connection that had been closed meanwhile: once more on a new one
    this._connect();
    this.socket.write(waiting.bytes);
  }

  _reset() {
    this.rest = Buffer.alloc(0); // bytes that are not used yet
    this.head = null; // {status, headers} when the body is being read
    this.parts = []; // of the body
    this.missing = 0; // bytes of the body, or of the chunk
    this.chunked = false;
  }

  _received(chunk) {
    if (this.head && !this.chunked && chunk.length <= this.missing) {
      this.parts.push(chunk);
      this.missing -= chunk.length;
      if (!this.missing) this._complete();
      return;
    }
    this.rest = this.rest.length ? Buffer.concat([this.rest, chunk]) : chunk;
    while (this._advance());
  }

  /** Use what has arrived; return whether there may be more to use. */
  _advance() {
    if (!this.head) return this._readHead();
    if (this.chunked) return this._readChunk();
    const part = this.rest.subarray(0, this.missing);
    this.parts.push(part);
    this.rest = this.rest.subarray(part.length);
    this.missing -= part.length;
    if (this.missing) return false;
    this._complete();
    return this.rest.length > 0;
  }

  _readHead() {
    const end = this.rest.indexOf("\r\n\r\n");
    if (end < 0) return false;
    const lines = this.rest.latin1Slice(0, end).split("\r\n");
    this.rest = this.rest.subarray(end + 4);
    const status = Number(lines[0].slice(9, 12));
    if (status < 200) return true; // an interim answer
    const headers = {};
    for (let i = 1; i < lines.length; i++) {
      const colon = lines[i].indexOf(":");
      headers[lines[i].slice(0, colon).toLowerCase()] = lines[i].slice(colon + 1).trim();
    }
    this.head = { status, headers };
    this.chunked = (headers["transfer-encoding"] || "").includes("chunked");
    this.missing = this.chunked ? -1 : Number(headers["content-length"] || 0);
    return true;
  }

  _readChunk() {
    if (this.missing < 0) {
      const end = this.rest.indexOf("\r\n");
      if (end < 0) return false;
      const size = parseInt(this.rest.latin1Slice(0, end), 16);
      if (size === 0) {
        const last = this.rest.indexOf("\r\n\r\n", end); // trailers end with an empty line
        if (last < 0) return false;
        this.rest = this.rest.subarray(last + 4);
        this._complete();
        return this.rest.length > 0;
      }
      this.rest = this.rest.subarray(end + 2);
      this.missing = size;
    }
    if (this.rest.length < this.missing + 2) return false;
    this.parts.push(this.rest.subarray(0, this.missing));
    this.rest = this.rest.subarray(this.missing + 2);
    this.missing = -1;
    return true;
  }

  _complete() {
    const { status, headers } = this.head;
    const body = this.parts.length === 1 ? this.parts[0] : Buffer.concat(this.parts);
    this.head = null;
    this.parts = [];
    if ((headers.connection || "").toLowerCase() === "close") {
      this.socket.destroy();
      this.socket = null;
    }
    const waiting = this.waiting;
    this.waiting = null;
    waiting.resolve({ status, headers, body });
  }
}

// --- Logs ------------------------------------------------------------------------------------------------------------

let write = writePlain;
let telemetryFd = -1;

function writeAll(fd, bytes) {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += fs.writeSync(fd, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1); // a full pipe that does not block
    }
  }
}

/** Write one record to standard output; the platform cuts at newlines, so they become carriage returns. */
function writePlain(text) {
  writeAll(1, Buffer.from(text.replace(/\n/g, "\r") + "\n"));
}

/** Write one record in a frame: 4 bytes mark, 4 bytes length, 8 bytes Unix time in microseconds, the text. Big endian. */
function writeFramed(text) {
  const microseconds = BigInt(Date.now()) * 1000n;
  const record = text + "\n";
  for (let at = 0; at < record.length; at += MAX_FRAME_BYTES / 4) {
    const part = Buffer.from(record.slice(at, at + MAX_FRAME_BYTES / 4));
    const head = Buffer.alloc(16);
    head.writeUInt32BE(FRAME_TEXT, 0);
    head.writeUInt32BE(part.length, 4);
    head.writeBigInt64BE(microseconds, 8);
    writeAll(telemetryFd, Buffer.concat([head, part]));
  }
}

function logText(level, values) {
  write(`${new Date().toISOString()}\t${requestId}\t${level}\t${util.format(...values)}`);
}

function logJson(level, values) {
  const line = { timestamp: new Date().toISOString(), level, requestId, tenantId };
  if (values.length < 2) {
    line.message = values[0];
    try {
      return write(JSON.stringify(line, (_, value) => (value instanceof Error ? { ...describeForJson(value), ...value } : value)));
    } catch {
      // circular, or with a BigInt: as text
    }
  }
  line.message = util.format(...values);
  const error = values.length > 1 && values.find((value) => value instanceof Error);
  write(JSON.stringify(error ? { ...line, ...describeForJson(error) } : line));
}

/** JSON records name the class, while answers name the error. */
function describeForJson(error) {
  const errorType = error instanceof Fault ? error.name.replace("Runtime.", "") : error.constructor?.name ?? "UnknownError";
  return { errorType, errorMessage: error.message, stackTrace: stackOf(error) };
}

const METHODS = { trace: "TRACE", debug: "DEBUG", info: "INFO", log: "INFO", warn: "WARN", error: "ERROR", fatal: "FATAL" };

function openLogs() {
  const fd = process.env._LAMBDA_TELEMETRY_LOG_FD;
  if (/^\d+$/.test(fd || "")) {
    telemetryFd = Number(fd);
    write = writeFramed;
    delete process.env._LAMBDA_TELEMETRY_LOG_FD;
  }
  const json = process.env.AWS_LAMBDA_LOG_FORMAT === "JSON";
  const least = json ? LEVELS[(process.env.AWS_LAMBDA_LOG_LEVEL || "INFO").toUpperCase()] ?? LEVELS.INFO : LEVELS.TRACE;
  const log = json ? logJson : logText;
  for (const method in METHODS) {
    const level = METHODS[method];
    console[method] = LEVELS[level] < least ? () => {} : (...values) => log(level, values);
  }
}

/** Write the one log record of a failed invocation or Init, whatever the level. */
function logFailure(title, error) {
  if (process.env.AWS_LAMBDA_LOG_FORMAT === "JSON") return logJson("ERROR", [isError(error) ? asError(error) : new Error(String(error))]);
  let text;
  try {
    text = JSON.stringify(describeForLog(error));
  } catch {
    text = util.inspect(error);
  }
  write(`${new Date().toISOString()}\t${requestId}\tERROR\t${title} \t${text}`);
}

// --- Errors ----------------------------------------------------------------------------------------------------------

/** A failure that the runtime itself reports, with AWS's type. */
class Fault extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
    this.stack = this.stack.replace(/^Error/, name);
    Object.defineProperty(this, "name", { enumerable: false });
  }
}

function isError(value) {
  return value instanceof Error || util.types.isNativeError(value) || Boolean(value && value.name && value.message && value.stack);
}

function asError(value) {
  return value instanceof Error ? value : Object.assign(new Error(value.message), { name: value.name, stack: value.stack });
}

function nameOf(error) {
  return String(error.name || (error.constructor && error.constructor.name) || "Error");
}

function stackOf(error) {
  return typeof error.stack === "string" ? error.stack.split("\n") : [];
}

/** Turn whatever was thrown into the payload that the caller sees. */
function payloadOf(error) {
  if (isError(error)) return { errorType: nameOf(error), errorMessage: error.message, trace: stackOf(error) };
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

function describeForLog(error) {
  if (!isError(error)) return describeForLog(new Error(String(error))); // what is thrown may be anything; what is logged is an Error
  const { reason, ...rest } = error;
  const line = { errorType: nameOf(error), errorMessage: error.message, ...rest };
  if (reason !== undefined) line.reason = isError(reason) ? describeForLog(reason) : reason;
  delete line.stack;
  delete line.message;
  delete line.name;
  return { ...line, stack: stackOf(error) };
}

function causeOf(error) {
  const stack = [];
  for (const line of stackOf(error)) {
    const frame = /^\s*at (?:(.*?) \()?(.*?):(\d+):\d+\)?$/.exec(line);
    if (frame) stack.push({ path: frame[2], line: Number(frame[3]), label: frame[1] || "anonymous" });
  }
  const cause = {
    working_directory: process.cwd(),
    exceptions: [{ type: nameOf(error), message: String(error.message), stack }],
    paths: [...new Set(stack.map((frame) => frame.path))],
  };
  return JSON.stringify(cause).replace(/[^\x20-\x7e]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}

function errorHeaders(error, payload) {
  const headers = {
    "Content-Type": "application/json",
    "Lambda-Runtime-Function-Error-Type": payload.errorType.replace(/[^\x20-\x7e]/g, "?"),
  };
  const cause = isError(error) ? causeOf(error) : "";
  if (cause && cause.length <= MAX_CAUSE_BYTES) headers["Lambda-Runtime-Function-XRay-Error-Cause"] = cause;
  return headers;
}

// --- Loading the handler ---------------------------------------------------------------------------------------------

/** Say which release's rules hold: the runtime's that was asked for, else the interpreter's. */
function majorVersion() {
  const named = /nodejs(\d+)\./.exec(process.env.AWS_EXECUTION_ENV || "");
  return Number(named ? named[1] : process.versions.node.split(".")[0]);
}

function isModuleScope(directory) {
  for (let at = directory; ; at = path.dirname(at)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(at, "package.json"), "utf8")).type === "module";
    } catch (error) {
      if (error.code !== "ENOENT" && error.code !== "ENOTDIR") return false;
    }
    if (at === path.dirname(at) || path.basename(at) === "node_modules") return false;
  }
}

function isFile(name) {
  return fs.statSync(name, { throwIfNoEntry: false })?.isFile() ?? false;
}

async function loadModule(root, folder, name) {
  const place = path.resolve(root, folder, name);
  const require = Module.createRequire("/var/runtime/index.mjs"); // what AWS's stack of requires ends with
  if (isFile(place)) return require(place);
  if (isFile(`${place}.js`)) {
    return isModuleScope(path.dirname(place)) ? import(url.pathToFileURL(`${place}.js`)) : require(`${place}.js`);
  }
  if (isFile(`${place}.mjs`)) return import(url.pathToFileURL(`${place}.mjs`));
  if (isFile(`${place}.cjs`)) return require(`${place}.cjs`);
  const named = folder ? `${folder}/${name}` : name;
  try {
    return require(require.resolve(named, { paths: [root, path.resolve(root, folder)] }));
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND" || !error.message.includes(`'${named}'`)) throw error;
    return require(named); // through NODE_PATH, or the usual error with the usual stack of requires
  }
}

async function loadHandler(name, root) {
  if (name.includes("..")) throw new Fault("Runtime.MalformedHandlerName", "'..' is not valid in a handler string.");
  const base = path.basename(name);
  const folder = name.slice(0, name.length - base.length).replace(/\/$/, "");
  const parts = /^([^.]*)\.(.*)$/.exec(base);
  if (!parts) throw new Fault("Runtime.MalformedHandlerName", "Bad handler");
  let loaded;
  try {
    loaded = await loadModule(root, folder, parts[1]);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault("Runtime.UserCodeSyntaxError", String(error));
    if (error && error.code === "MODULE_NOT_FOUND") throw new Fault("Runtime.ImportModuleError", String(error));
    throw error;
  }
  const handler = parts[2].split(".").reduce((value, key) => (value == null ? undefined : value[key]), loaded);
  if (handler === undefined || handler === null) {
    throw new Fault("Runtime.HandlerNotFound", `${name} is undefined or not exported`);
  }
  if (typeof handler !== "function") throw new Fault("Runtime.HandlerNotFound", `${name} is not a function`);
  if (majorVersion() >= 24 && handler.length >= 3 && !handler[STREAMING]) {
    throw new Fault(
      "Runtime.CallbackHandlerDeprecated",
      "ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. " +
        "You need to modify this function to use a supported handler signature to use Node.js 24 or later. " +
        "For more information see https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.",
    );
  }
  return handler;
}

// --- What the handler is given ---------------------------------------------------------------------------------------

function parseHeader(value) {
  return value ? JSON.parse(Buffer.from(value, "latin1").toString("utf8")) : undefined;
}

function makeContext(headers) {
  const environ = process.env;
  const deadlineMs = Number(headers["lambda-runtime-deadline-ms"] || 0);
  const context = {
    functionVersion: environ.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: environ.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: environ.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: environ.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: environ.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: parseHeader(headers["lambda-runtime-client-context"]),
    identity: parseHeader(headers["lambda-runtime-cognito-identity"]),
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    getRemainingTimeInMillis: () => Math.max(deadlineMs - Date.now(), 0),
  };
  if (headers["lambda-runtime-aws-tenant-id"]) context.tenantId = headers["lambda-runtime-aws-tenant-id"];
  return context;
}

/** The global `awslambda`, by which handlers say that they stream. */
const awslambda = {
  streamifyResponse(handler, options) {
    handler[STREAMING] = "response";
    if (typeof options?.highWaterMark === "number") handler[HIGH_WATER_MARK] = options.highWaterMark;
    return handler;
  },
  HttpResponseStream: class HttpResponseStream {
    /** Send status, headers and cookies of an HTTP answer ahead of what is written to the stream. */
    static from(stream, prelude) {
      stream.setContentType("application/vnd.awslambda.http-integration-response");
      stream._prelude = Buffer.concat([Buffer.from(JSON.stringify(prelude)), Buffer.alloc(8)]);
      return stream;
    }
  },
};

function makeResponseStream(api, target, echo, highWaterMark) {
  const { Writable } = require("node:stream");
  let sender = null;
  let closed = false;
  let contentType = "application/octet-stream";
  const begin = () => {
    sender = api.stream(target, {
      "Content-Type": contentType,
      "Lambda-Runtime-Function-Response-Mode": "streaming",
      Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body",
      ...echo,
    });
    const prelude = stream._prelude;
    if (prelude) sender.write(prelude, () => {});
  };
  const stream = new Writable({
    highWaterMark,
    write(chunk, _, done) {
      if (closed) return done();
      if (!sender) begin();
      sender.write(chunk, done);
    },
    final(done) {
      if (!sender) begin();
      done();
    },
  });
  const plainWrite = stream.write;
  const asChunk = (chunk) =>
    typeof chunk === "string" || chunk instanceof Uint8Array || chunk == null ? chunk : JSON.stringify(chunk);
  stream.write = function (chunk, ...rest) {
    return plainWrite.call(this, asChunk(chunk), ...rest);
  };
  stream.setContentType = (type) => {
    if (sender) throw new Error("Cannot set content-type, too late.");
    contentType = String(type);
  };
  return {
    stream,
    hasBegun: () => sender !== null,
    /** After a failure: let what was written before it go out, and nothing after it. */
    settle: () =>
      new Promise((resolve) => {
        if (stream.destroyed || stream.writableFinished) return resolve();
        stream.on("finish", resolve);
        stream.on("close", resolve);
        if (!stream.writableEnded) stream.end();
      }),
    end(trailers) {
      closed = true;
      return sender.end(trailers);
    },
  };
}

// --- Invoke ----------------------------------------------------------------------------------------------------------

class Runtime {
  constructor(api, handler) {
    this.api = api;
    this.handler = handler;
    this.hasCallbacks = majorVersion() < 24;
    this.whenLoopIsEmpty = null;
    process.on("beforeExit", () => {
      const then = this.whenLoopIsEmpty;
      this.whenLoopIsEmpty = null;
      if (then) then();
    });
  }

  async run() {
    for (;;) {
      const { status, headers, body } = await this.api.request("GET", "invocation/next");
      if (status !== 200) throw new Error(`the Runtime API answered ${status} to invocation/next: ${body}`);
      this.api.unref();
      await this.invoke(headers, body);
    }
  }

  async invoke(headers, body) {
    requestId = headers["lambda-runtime-aws-request-id"];
    tenantId = headers["lambda-runtime-aws-tenant-id"];
    const trace = headers["lambda-runtime-trace-id"];
    if (trace) process.env._X_AMZN_TRACE_ID = trace;
    else delete process.env._X_AMZN_TRACE_ID;
    this.target = `invocation/${requestId}/`;
    const attempt = headers["lambda-runtime-invocation-id"];
    this.echo = attempt ? { "Lambda-Runtime-Invocation-Id": attempt } : {};
    try {
      const context = makeContext(headers);
      const event = JSON.parse(body.utf8Slice(0, body.length));
      if (this.handler[STREAMING]) return await this.invokeStreaming(event, context);
      const result = await this.result(event, context);
      let text;
      try {
        text = JSON.stringify(result === undefined ? null : result) ?? "null";
      } catch {
        throw new Error("Unable to stringify response body");
      }
      await this.api.request("POST", this.target + "response", { "Content-Type": "application/json", ...this.echo }, text);
    } catch (error) {
      await this.fail(error, "Invoke Error");
    }
  }

  /** Run the handler; settle when it answers, by whichever of the ways that Node.js handlers have. */
  result(event, context) {
    return new Promise((resolve, reject) => {
      const settle = (then) => (value) => {
        this.whenLoopIsEmpty = null;
        then(value);
      };
      const [succeed, fail] = [settle(resolve), settle(reject)];
      const callback = this.hasCallbacks ? this.offerCallbacks(context, succeed, fail) : undefined;
      this.whenLoopIsEmpty = () => resolve(null);
      const result = callback ? this.handler(event, context, callback) : this.handler(event, context);
      if (result !== null && typeof result === "object" && typeof result.then === "function") {
        this.whenLoopIsEmpty = () => reject(unsettled());
        result.then(succeed, fail);
      } else if (!callback) {
        succeed(result);
      }
    });
  }

  offerCallbacks(context, succeed, fail) {
    let waits = true;
    Object.defineProperty(context, "callbackWaitsForEmptyEventLoop", {
      enumerable: true,
      get: () => waits,
      set: (value) => {
        waits = Boolean(value);
      },
    });
    context.succeed = (result) => succeed(result);
    context.fail = (error) => fail(error === undefined || error === null ? "handled" : error);
    context.done = (error, result) => (error === undefined || error === null ? succeed(result) : fail(error));
    return (error, result) => {
      if (error !== undefined && error !== null) fail(error);
      else if (waits) this.whenLoopIsEmpty = () => succeed(result);
      else succeed(result);
    };
  }

  async invokeStreaming(event, context) {
    const response = makeResponseStream(this.api, this.target + "response", this.echo, this.handler[HIGH_WATER_MARK]);
    const { stream } = response;
    try {
      await new Promise((resolve, reject) => {
        let returned = false;
        const maybeDone = () => returned && stream.writableFinished && resolve();
        stream.on("finish", maybeDone);
        stream.on("error", reject);
        this.whenLoopIsEmpty = () => reject(unsettled());
        const result = this.handler(event, stream, context);
        if (typeof result?.then !== "function") {
          throw new Fault("Runtime.InvalidStreamingOperation", "Streaming does not support non-async handlers.");
        }
        result.then(() => {
          returned = true;
          maybeDone();
        }, reject);
      });
      await response.end({});
    } catch (error) {
      stream.on("error", () => {}); // what the handler still does with it changes nothing
      if (!response.hasBegun()) {
        stream.destroy();
        throw error;
      }
      await response.settle();
      await this.fail(error, "Invoke Error", (payload) =>
        response.end({
          "Lambda-Runtime-Function-Error-Type": errorHeaders(error, payload)["Lambda-Runtime-Function-Error-Type"],
          "Lambda-Runtime-Function-Error-Body": Buffer.from(JSON.stringify(payload)).toString("base64"),
        }),
      );
    } finally {
      this.whenLoopIsEmpty = null;
    }
  }

  /** Log an error and report it. */
  fail(error, title, send) {
    const payload = payloadOf(error);
    logFailure(title, error);
    if (send) return send(payload);
    const headers = { ...errorHeaders(error, payload), ...this.echo };
    return this.api.request("POST", this.target + "error", headers, JSON.stringify(payload));
  }
}

function unsettled() {
  return new Fault("Runtime.NodeJsExit", "The event loop is empty, and the handler's promise is still not settled.");
}

// --- Life ------------------------------------------------------------------------------------------------------------

/** Do once, in a stem cell, what Node.js does at the first time only: load ES modules, connect, write a log record. */
async function rehearse() {
  for (const name of ["buffer", "crypto", "events", "http", "https", "os", "stream", "timers/promises", "zlib"]) require(`node:${name}`);
  await import("data:text/javascript,export const handler = async () => {};");
  util.format("%s", {});
  const server = net.createServer((socket) => {
    socket.on("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const api = new RuntimeApi(`127.0.0.1:${server.address().port}`);
  await api.request("GET", "rehearsal");
  await api.request("POST", "rehearsal", { "Content-Type": "application/json" }, "{}");
  await new Promise((resolve) => server.close(resolve));
}

/** Wait, in a stem cell, for the function that this process is to become; leave when there will be none. */
function awaitFunction(fd) {
  const ready = process.env.LAMBDAD_STEM_READY_FD;
  if (/^\d+$/.test(ready || "")) fs.closeSync(Number(ready)); // this process has booted
  const chunk = Buffer.alloc(65536);
  let line = Buffer.alloc(0);
  while (!line.includes(10)) {
    let size;
    try {
      size = fs.readSync(fd, chunk, 0, chunk.length, null);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      continue;
    }
    if (!size) process.exit(0);
    line = Buffer.concat([line, chunk.subarray(0, size)]);
  }
  fs.closeSync(fd);
  const given = JSON.parse(line.subarray(0, line.indexOf(10)).toString());
  for (const name of Object.keys(process.env)) if (!(name in given.environment)) delete process.env[name];
  Object.assign(process.env, given.environment);
  if (given.cwd) process.chdir(given.cwd);
  Module._initPaths(); // NODE_PATH is only read when Node.js starts
}

async function main() {
  const stem = process.env.LAMBDAD_STEM_FD;
  if (/^\d+$/.test(stem || "")) {
    await rehearse().catch(() => {}); // then the first time is the function's own
    awaitFunction(Number(stem));
  }
  openLogs();
  globalThis.awslambda = awslambda;
  const api = new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API);
  let runtime = null;
  let dying = false;

  const die = async (error, title, status) => {
    if (dying) return;
    dying = true;
    try {
      if (runtime && runtime.target) {
        // the connection may be busy with this very invocation: a fresh one cannot be
        runtime.api = new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API);
        await runtime.fail(error, title);
      } else {
        const payload = payloadOf(error);
        logFailure(title, error);
        await new RuntimeApi(process.env.AWS_LAMBDA_RUNTIME_API).request(
          "POST",
          "init/error",
          errorHeaders(error, payload),
          JSON.stringify(payload),
        );
      }
    } catch {
      // nobody is there to be told
    }
    process.exit(status);
  };
  process.on("uncaughtException", (error) => die(error, "Uncaught Exception", EXIT_AFTER_EXCEPTION));
  process.on("unhandledRejection", (reason, promise) => {
    const error = new Fault("Runtime.UnhandledPromiseRejection", String(reason));
    error.reason = reason;
    error.promise = promise;
    die(error, "Unhandled Promise Rejection", EXIT_AFTER_REJECTION);
  });

  let handler;
  try {
    handler = await loadHandler(process.env._HANDLER || "", process.env.LAMBDA_TASK_ROOT || "/var/task");
  } catch (error) {
    return die(error, "Uncaught Exception", EXIT_AFTER_EXCEPTION);
  }
  runtime = new Runtime(api, handler);
  try {
    await runtime.run();
  } catch (error) {
    process.stderr.write(`${error.message}\n`);
    process.exit(1);
  }
}

main();
