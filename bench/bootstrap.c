#define _GNU_SOURCE
/* The smallest custom runtime: polls the Runtime API and answers each event with itself. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 20];

static int dial(void) {
  char host[64];
  const char *api = getenv("AWS_LAMBDA_RUNTIME_API"), *colon = strchr(api, ':');
  snprintf(host, sizeof host, "%.*s", (int)(colon - api), api);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
  inet_pton(AF_INET, host, &address.sin_addr);
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) exit(1);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return fd;
}

/* Read one response into the buffer; return where its body begins, and set its length. */
static char *receive(int fd, long *length) {
  size_t have = 0;
  for (;;) {
    ssize_t got = read(fd, buffer + have, sizeof buffer - 1 - have);
    if (got <= 0) exit(1);
    have += got;
    buffer[have] = 0;
    char *end = strstr(buffer, "\r\n\r\n");
    if (!end) continue;
    char *field = strcasestr(buffer, "content-length:");
    *length = field && field < end ? atol(field + 15) : 0;
    if (have >= (size_t)(end + 4 - buffer) + *length) return end + 4;
  }
}

int main(void) {
  int fd = dial();
  for (;;) {
    char id[64] = {0}, head[512];
    long length;
    dprintf(fd, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: api\r\n\r\n");
    char *body = receive(fd, &length), *field = strcasestr(buffer, "lambda-runtime-aws-request-id:");
    sscanf(field + 30, " %63[^\r]", id);
    char *event = malloc(length + 1);
    memcpy(event, body, length);
    int size = snprintf(head, sizeof head,
                        "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: api\r\nContent-Length: %ld\r\n\r\n", id, length);
    char *request = malloc(size + length);
    memcpy(request, head, size);
    memcpy(request + size, event, length);
    if (write(fd, request, size + length) != size + length) exit(1);
    receive(fd, &length);
    free(event);
    free(request);
  }
}
