/* A guest that gets into trouble as its kernel's command line says:
 *
 *   what=hang    starts its watchdog, 4 s, and never feeds it
 *   what=agent   is QEMU's guest agent: answers twice, stops in the middle of the third answer, answers once more, and
 *                then never stops answering
 *
 * Built against the kernel's nolibc, as the image's first program is (image/nolibc.py).
 * Sources: docs/interop/qemu-ga-ref.rst of QEMU; Documentation/watchdog/watchdog-api.rst.
 */

#include "nolibc.h"
#include <linux/watchdog.h>

#define WATCHDOG_SECONDS 4
#define FLOOD (12 << 20) /* bytes; libvirt takes 10 MiB of an answer */

static char buffer[8192], words[512], flood[4096];

static void say(const char *text)
{
	write(1, text, strlen(text));
}

static const char *find(const char *text, const char *word)
{
	for (; *text; text++)
		if (!strncmp(text, word, strlen(word)))
			return text;
	return NULL;
}

static void hang(void)
{
	int seconds = WATCHDOG_SECONDS;
	int watchdog = open("/dev/watchdog0", O_WRONLY);

	if (watchdog < 0 || ioctl(watchdog, WDIOC_SETTIMEOUT, &seconds))
		say("troubled: has no watchdog\n");
	say("troubled: hangs\n");
}

static void answer(int port, const char *question)
{
	static int asked;
	char text[64] = "{\"return\": ";
	const char *id = find(question, "\"id\":");
	int length = strlen(text), sent;

	if (!find(question, "guest-get-time")) {
		for (id = id ? id + 5 : ""; *id == ' ' || (*id >= '0' && *id <= '9'); id++)
			text[length++] = *id;
		write(port, text, length);
		write(port, "}\n", 2);
		return;
	}
	asked++;
	if (asked == 3) {
		write(port, text, length); /* and no more */
	} else if (asked < 5) {
		write(port, "{\"return\": 1700000000000000000}\n", 32);
	} else {
		memset(flood, 'x', sizeof(flood));
		say("troubled: never stops\n");
		for (sent = 0; sent < FLOOD; sent += sizeof(flood))
			if (write(port, flood, sizeof(flood)) < 0)
				break;
	}
}

static void agent(void)
{
	char path[] = "/dev/vport0p1", *end;
	int port, length = 0, got;

	do {
		port = open(path, O_RDWR);
	} while (port < 0 && path[10]++ < '9');
	say(port < 0 ? "troubled: has no port\n" : "troubled: is an agent\n");
	while ((got = read(port, buffer + length, sizeof(buffer) - 1 - length)) >= 0) {
		length += got;
		buffer[length] = 0;
		if (!got)
			msleep(50); /* nobody is at the other end */
		while ((end = strchr(buffer, '\n'))) {
			*end++ = 0;
			answer(port, buffer);
			length -= end - buffer;
			memmove(buffer, end, length + 1);
		}
	}
	say("troubled: cannot read its port\n");
}

int main(void)
{
	mkdir("/proc", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	read(open("/proc/cmdline", O_RDONLY), words, sizeof(words) - 1);
	if (find(words, "what=hang"))
		hang();
	if (find(words, "what=agent"))
		agent();
	say("troubled: waits for the end\n");
	for (;;)
		sleep(1000);
}
