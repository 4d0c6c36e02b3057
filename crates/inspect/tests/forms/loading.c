#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **words) {
	void *library = dlopen(words[count - 1], RTLD_NOW);
	void (*begin)(void) = library ? (void (*)(void))dlsym(library, "Begin") : 0;
	if (!begin) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	begin();
	for (;;) pause();
}
