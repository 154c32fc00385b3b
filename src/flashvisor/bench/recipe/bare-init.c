/* The least that a kernel can start: says that it runs, and waits. Built against the kernel's nolibc. */

#include "nolibc.h"

static const char line[] = "bare: stage=init\n";

int main(void)
{
	write(1, line, sizeof(line) - 1);
	for (;;)
		sleep(3600);
}
