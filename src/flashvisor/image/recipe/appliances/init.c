/* The first program of an appliance: makes a place for one service, starts it, and ends with it.
 *
 * Its arguments are the service's own; the kernel passes them on from behind "--" of its command line. What the command
 * line says in words of the form NAME=VALUE, and no part of the kernel knows, is this program's environment:
 *
 *   user=33     the service starts as that user and group, and without the way back to root
 *   data=/data  a directory for what it keeps: the first disk if there is one, else RAM
 *
 * A blank disk gets a file system; one that holds anything else stops the appliance untouched. A disk that has grown
 * is grown into. The power button ends the service by SIGTERM, and then the machine. A service that ends by itself
 * is a kernel panic, and with panic=1 on the command line a new start.
 * Built against the kernel's nolibc: no library, a few KB.
 * Sources: bootparam(7), finit_module(2), ext4(5), fs/ext4/ioctl.c (EXT4_IOC_RESIZE_FS), input/event-codes.rst.
 */

#include "nolibc.h"
#include <linux/fs.h>
#include <linux/input-event-codes.h>
#include <linux/prctl.h>

#define CONSOLE "/dev/console"
#define DISK "/dev/vda"
#define MODULES "/usr/lib/modules/"
#define PROBE (1 << 20) /* bytes at the disk's beginning that are looked at: all that names a content lies there */
#define BLOCK 4096 /* bytes of a file system's block, as MAKE_FS has it */
#define RESIZE_FS _IOW('f', 16, __u64)
#define INPUTS 8
#define FILES 65536 /* that a service may have open; the kernel's 4096 are few for a proxy or a cache */

/* linux/input.h has it, together with glibc's own headers. */
struct input_event {
	long seconds, microseconds;
	__u16 type, code;
	__s32 value;
};

static char *const MAKE_FS[] = { "/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", DISK, NULL };
static char *const NOTHING[] = { NULL };

static void say(const char *what, const char *which)
{
	write(2, "appliance: ", 11);
	write(2, what, strlen(what));
	write(2, which, strlen(which));
	write(2, "\n", 1);
}

static int fail(const char *what, const char *which)
{
	say(what, which);
	return 1;
}

static int start(char *const argv[], char *const envp[])
{
	int child = fork();

	if (child == 0) {
		execve(argv[0], argv, envp);
		say("cannot start ", argv[0]);
		exit(127);
	}
	return child;
}

/* In the order in which they need each other; an appliance that keeps nothing has none of them. */
static void load_modules(void)
{
	static const char *const names[] = { MODULES "crc32c_generic.ko", MODULES "crc16.ko", MODULES "mbcache.ko",
					     MODULES "jbd2.ko", MODULES "ext4.ko" };

	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++) {
		int file = open(names[i], O_RDONLY);

		if (file < 0 || syscall(__NR_finit_module, file, "", 0))
			say("cannot load ", names[i]);
		close(file);
	}
}

static int is_blank(int disk)
{
	static char block[BLOCK];

	for (int done = 0; done < PROBE; done += BLOCK) {
		int got = read(disk, block, BLOCK);

		if (got < BLOCK)
			return got >= 0 && done > 0; /* a disk that cannot be read is not blank */
		for (int i = 0; i < BLOCK; i++)
			if (block[i])
				return 0;
	}
	return 1;
}

static int mount_disk(const char *place)
{
	return mount(DISK, place, "ext4", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, "errors=remount-ro");
}

static int open_data(const char *place)
{
	int status = 0, disk = open(DISK, O_RDONLY);
	__u64 size = 0;

	if (disk < 0)
		return 0;
	load_modules();
	if (is_blank(disk) && (waitpid(start(MAKE_FS, NOTHING), &status, 0) < 0 || status))
		return fail("cannot make a file system on ", DISK);
	if (mount_disk(place))
		return fail("its disk cannot be mounted, and is not blank: it was left as it is", "");
	if (ioctl(disk, BLKGETSIZE64, &size) == 0) {
		int root = open(place, O_RDONLY);

		size /= BLOCK;
		ioctl(root, RESIZE_FS, &size); /* says no to a size that it has already */
		close(root);
	}
	close(disk);
	return 0;
}

static int serve(char *const argv[], char *const envp[], int user)
{
	const struct rlimit64 files = { FILES, FILES };
	int child = fork();

	if (child)
		return child;
	syscall(__NR_prlimit64, 0, RLIMIT_NOFILE, &files, NULL);
	if (user && (syscall(__NR_setgroups, 0, NULL) || syscall(__NR_setgid, user) || syscall(__NR_setuid, user)))
		exit(fail("cannot become another user for ", argv[0]));
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setsid();
	execve(argv[0], argv, envp);
	exit(fail("cannot start ", argv[0]));
}

/* A process of its own, so that waiting for the button and for the service is one wait(2). */
static int watch_button(void)
{
	static char path[] = "/dev/input/event0";
	struct pollfd inputs[INPUTS];
	struct input_event event;
	int child = fork(), count = 0;

	if (child)
		return child;
	for (int i = 0; i < INPUTS; i++) {
		path[sizeof(path) - 2] = '0' + i;
		inputs[count].fd = open(path, O_RDONLY);
		inputs[count].events = POLLIN;
		count += inputs[count].fd >= 0;
	}
	while (poll(inputs, count, -1) >= 0)
		for (int i = 0; i < count; i++)
			if (inputs[i].revents && read(inputs[i].fd, &event, sizeof(event)) == sizeof(event) &&
			    event.type == EV_KEY && event.code == KEY_POWER && event.value)
				exit(0);
	exit(1);
}

static void power_off(int service)
{
	kill(service, SIGTERM);
	while (waitpid(service, NULL, 0) < 0 && errno == EINTR)
		;
	syscall(__NR_sync);
	if (getenv("data"))
		umount2(getenv("data"), 0);
	reboot(LINUX_REBOOT_CMD_POWER_OFF);
}

/* Once more, from the /dev that others see: a service may open its /dev/stderr by name. */
static void open_console(int user)
{
	int console = open(CONSOLE, O_RDWR);

	for (int i = 0; i < 3 && console >= 0; i++)
		dup2(console, i);
	if (console > 2)
		close(console);
	chown(CONSOLE, user, user);
}

int main(int argc, char *argv[], char *envp[])
{
	const char *data = getenv("data"), *number = getenv("user");
	int user = number ? atoi(number) : 0, service, button, ended, status;

	if (argc < 2)
		return fail("there is nothing to start", "");
	mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
	mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
	mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, 0);
	open_console(user);
	if (data) {
		mkdir(data, 0755);
		if (open_data(data))
			return 1;
		chown(data, user, user);
	}
	chown("/run", user, user);
	service = serve(argv + 1, envp, user);
	button = watch_button();
	do {
		ended = wait(&status);
		if (ended == button && status == 0)
			power_off(service);
	} while (ended != service);
	syscall(__NR_sync);
	return fail("the service ended: ", argv[1]);
}
