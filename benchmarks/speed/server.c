/* A server that takes as little CPU time as it can: epoll, answers made beforehand.
 *
 * usage: server COMPLETE RUNNING PROCESSES
 * (files: whole answers, marks in place of the date and the id; so many processes accept)
 *
 * It prints its port on 127.0.0.1 and serves until its standard input ends. A query is a head with
 * Content-Length and a body that holds "request_id"; the id's first letter chooses the answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ID_LENGTH 22
#define DATE_LENGTH 29
#define EVENTS 256
#define ROOM 16384

struct answer {
    char *bytes, *id, *date;
    size_t length;
};

struct connection {
    int socket;
    size_t filled;
    char received[ROOM];
};

static struct answer complete, running;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static char *mark(struct answer *answer, const char *text) {
    char *found = memmem(answer->bytes, answer->length, text, strlen(text));
    if (!found) fail("no mark");
    return found;
}

static struct answer load(const char *path) {
    struct answer answer = {0};
    FILE *file = fopen(path, "rb");
    if (!file || !(answer.bytes = malloc(1 << 20))) fail(path);
    answer.length = fread(answer.bytes, 1, 1 << 20, file);
    fclose(file);
    answer.id = mark(&answer, "@@@@@@@@@@@@@@@@@@@@@@");
    answer.date = mark(&answer, "Thu, 01 Jan 1970 00:00:00 GMT");
    return answer;
}

static void update_date(void) {
    static time_t last;
    char text[DATE_LENGTH + 1];
    time_t now = time(NULL);
    if (now == last) return;
    last = now;
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", gmtime(&now));
    memcpy(complete.date, text, DATE_LENGTH);
    memcpy(running.date, text, DATE_LENGTH);
}

/* Send the whole answer, and wait where the socket is full. */
static int reply(int socket, const char *id) {
    struct answer *answer = *id == 'R' ? &running : &complete;
    size_t sent = 0;
    memcpy(answer->id, id, ID_LENGTH);
    while (sent < answer->length) {
        ssize_t n = send(socket, answer->bytes + sent, answer->length - sent, MSG_NOSIGNAL);
        if (n > 0) {
            sent += n;
        } else if (errno == EAGAIN) {
            struct pollfd wait = {socket, POLLOUT, 0};
            poll(&wait, 1, 1000);
        } else {
            return -1;
        }
    }
    return 0;
}

/* Answer the first query. Return its length, 0 if it is not whole yet, -1 if it is malformed. */
static ssize_t serve(struct connection *connection) {
    char *start = connection->received, *end, *field, *id;
    size_t length;
    connection->received[connection->filled] = 0;
    end = strstr(start, "\r\n\r\n");
    if (!end) return connection->filled < ROOM - 1 ? 0 : -1;
    field = strcasestr(start, "\r\ncontent-length:");
    if (!field || field > end) return -1;
    length = end + 4 - start + strtoul(field + 17, NULL, 10);
    if (length >= ROOM) return -1;
    if (connection->filled < length) return 0;
    id = strstr(end, "\"request_id\"");
    if (!id || !(id = strchr(id + 12, '"')) || id + 1 + ID_LENGTH > start + length) return -1;
    return reply(connection->socket, id + 1) ? -1 : (ssize_t)length;
}

static int receive(struct connection *connection) {
    ssize_t n = recv(connection->socket, connection->received + connection->filled,
                     ROOM - 1 - connection->filled, 0);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) return -1;
    connection->filled += n;
    while ((n = serve(connection)) > 0) {
        connection->filled -= n;
        memmove(connection->received, connection->received + n, connection->filled);
    }
    return n;
}

static void add(int poller, int socket, void *data) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = data};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, socket, &event)) fail("epoll_ctl");
}

static void accept_connection(int poller, int listener) {
    int one = 1, socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    struct connection *connection;
    if (socket < 0) return;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!(connection = calloc(1, sizeof *connection))) fail("calloc");
    connection->socket = socket;
    add(poller, socket, connection);
}

static int listen_on_loopback(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&address, size) || listen(listener, 1024)) fail("listen");
    if (getsockname(listener, (void *)&address, &size)) fail("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    struct epoll_event events[EVENTS];
    int listener, poller, input;
    if (count != 4) fail("usage: server COMPLETE RUNNING PROCESSES");
    complete = load(arguments[1]);
    running = load(arguments[2]);
    listener = listen_on_loopback();
    for (int i = atoi(arguments[3]); i > 1 && fork(); i--) {}
    poller = epoll_create1(0);
    add(poller, listener, &listener);
    add(poller, STDIN_FILENO, &input);
    for (;;) {
        int ready = epoll_wait(poller, events, EVENTS, -1);
        update_date();
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if ((void *)connection == &input) return 0;
            if ((void *)connection == &listener) {
                accept_connection(poller, listener);
            } else if (receive(connection)) {
                close(connection->socket);
                free(connection);
            }
        }
    }
}
