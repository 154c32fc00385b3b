/* The first program: opens the root that lies in the initramfs as a file, makes it / and starts systemd.
 *
 * The root stays one compressed file in RAM (SquashFS over a loop device), so that it costs its compressed size and
 * cannot be made writable. Built against the kernel's nolibc: no library, a few KB. Anything that fails ends this
 * program, which is a kernel panic and, panic=10 later, a reset. What hangs is reset by the watchdog, which is
 * started here and goes on counting when it is closed, until systemd opens it and feeds it.
 * Sources: loop(4), mount(2), syslog(2), Documentation/filesystems/ramfs-rootfs-initramfs.rst,
 * Documentation/watchdog/watchdog-api.rst.
 */

#include "nolibc.h"
#include <linux/loop.h>
#include <linux/watchdog.h>

#define ROOT "/root"
#define LOOP "/dev/loop0"
#define WATCHDOG "/dev/watchdog0" /* the one that systemd takes; its drivers are in the kernel */
#define WATCHDOG_SECONDS 60
#define CONSOLE_OFF 6 /* syslog(2) */
#define CONSOLE_ON 7

static char *const argv[] = { "/usr/lib/systemd/systemd", NULL };
static char *const envp[] = { "PATH=/usr/sbin:/usr/bin", NULL };

static int fail(const char *what)
{
	write(2, "flashvisor: init cannot ", 24);
	write(2, what, strlen(what));
	write(2, "\n", 1);
	return 1;
}

/* Not every server has one: the agent tells whether it does. */
static void start_watchdog(void)
{
	int seconds = WATCHDOG_SECONDS;
	int watchdog = open(WATCHDOG, O_WRONLY);

	if (watchdog < 0)
		return;
	ioctl(watchdog, WDIOC_SETTIMEOUT, &seconds);
	/* "watchdog did not stop!", says the kernel. That is what is wanted, and no news for the consoles. */
	syscall(__NR_syslog, CONSOLE_OFF, 0, 0);
	close(watchdog);
	syscall(__NR_syslog, CONSOLE_ON, 0, 0);
}

static int attach(void)
{
	struct loop_config config = { .info = { .lo_flags = LO_FLAGS_READ_ONLY } };
	int loop = open(LOOP, O_RDONLY);

	config.fd = open("/root.squashfs", O_RDONLY);
	return loop < 0 || (int)config.fd < 0 || ioctl(loop, LOOP_CONFIGURE, &config);
}

int main(void)
{
	mkdir("/dev", 0755);
	mkdir(ROOT, 0755);
	if (mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=0755"))
		return fail("mount /dev");
	start_watchdog();
	if (attach())
		return fail("attach the root to " LOOP);
	if (mount(LOOP, ROOT, "squashfs", MS_RDONLY, 0))
		return fail("mount the root");
	if (mount("/dev", ROOT "/dev", 0, MS_MOVE, 0))
		return fail("move /dev");
	if (chdir(ROOT) || mount(".", "/", 0, MS_MOVE, 0) || chroot(".") || chdir("/"))
		return fail("enter the root");
	execve(argv[0], argv, envp);
	return fail("start systemd");
}
