/* Stands in for the agent in the test of Secure Boot's signed variables: writes the payloads that lie beside it.
 *
 * In Setup Mode those of /setup, else those of /user, in the order of the table. Says what the firmware answered, and
 * resets. A payload file begins with the variable's attributes, as efivarfs wants it.
 * Sources: Documentation/filesystems/efivarfs.rst; ioctl_iflags(2).
 */

#include "nolibc.h"
#include <linux/fs.h>

#define VARIABLES "/sys/firmware/efi/efivars"
#define GLOBAL "-8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define DATABASE "-d719b2cb-3d3a-4596-a3bc-dad00e67656f"

struct step { const char *payload, *variable; };

static const struct step setup[] = {
	{ "/setup/db", VARIABLES "/db" DATABASE },
	{ "/setup/KEK", VARIABLES "/KEK" GLOBAL },
	{ "/setup/PK", VARIABLES "/PK" GLOBAL },
	{ 0, 0 },
};
static const struct step user[] = {
	{ "/user/forged", VARIABLES "/db" DATABASE },
	{ "/user/db", VARIABLES "/db" DATABASE },
	{ "/user/stale", VARIABLES "/db" DATABASE },
	{ "/user/PK", VARIABLES "/PK" GLOBAL },
	{ "/user/release", VARIABLES "/PK" GLOBAL },
	{ 0, 0 },
};
static char buffer[65536];

static int flag(const char *path)
{
	char data[5] = { 0 };
	int file = open(path, O_RDONLY);

	return file >= 0 && read(file, data, 5) == 5 ? data[4] : -1;
}

static int carry_out(const struct step *step)
{
	int flags = 0, file, source = open(step->payload, O_RDONLY);
	ssize_t size = read(source, buffer, sizeof(buffer));

	close(source);
	file = open(step->variable, O_RDONLY);
	if (file >= 0) {
		ioctl(file, FS_IOC_SETFLAGS, &flags);
		close(file);
	}
	file = open(step->variable, O_WRONLY | O_CREAT, 0644);
	if (file < 0 || size <= 0)
		return -1;
	return write(file, buffer, size) == size ? 0 : errno;
}

int main(void)
{
	const struct step *step;
	int in_setup;

	mkdir("/sys", 0755);
	if (mount("sysfs", "/sys", "sysfs", 0, 0) || mount("efivarfs", VARIABLES, "efivarfs", 0, 0)) {
		printf("probe: cannot mount\n");
		return 1;
	}
	in_setup = flag(VARIABLES "/SetupMode" GLOBAL);
	printf("probe: SetupMode=%d SecureBoot=%d\n", in_setup, flag(VARIABLES "/SecureBoot" GLOBAL));
	for (step = in_setup == 1 ? setup : user; step->payload; step++)
		printf("probe: %s %d\n", step->payload, carry_out(step));
	printf("probe: done\n");
	reboot(LINUX_REBOOT_CMD_RESTART);
	return 1;
}
