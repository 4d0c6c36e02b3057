#include <unistd.h>

extern void Begin(void);

int main(void) {
	Begin();
	for (;;) pause();
}
