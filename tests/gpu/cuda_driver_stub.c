/* The seven driver calls of vitrine_export.tensorrt_runner.CudaGraph: they print their arguments,
 * and fail with the code in the environment variable of their name. */
#include <stdio.h>
#include <stdlib.h>

static int answer(const char *name) {
    const char *code = getenv(name);
    return code ? atoi(code) : 0;
}

int cuStreamBeginCapture_v2(void *stream, int mode) {
    printf("begin %lx mode %d\n", (unsigned long)stream, mode);
    fflush(stdout);
    return answer("cuStreamBeginCapture_v2");
}

int cuStreamEndCapture(void *stream, void **graph) {
    printf("end %lx\n", (unsigned long)stream);
    fflush(stdout);
    *graph = (void *)0x600d00000001UL;
    return answer("cuStreamEndCapture");
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    printf("instantiate %lx flags %llu\n", (unsigned long)graph, flags);
    fflush(stdout);
    *executable = (void *)0x600d00000002UL;
    return answer("cuGraphInstantiateWithFlags");
}

int cuGraphDestroy(void *graph) {
    printf("destroy %lx\n", (unsigned long)graph);
    fflush(stdout);
    return 0;
}

int cuGraphLaunch(void *executable, void *stream) {
    printf("launch %lx on %lx\n", (unsigned long)executable, (unsigned long)stream);
    fflush(stdout);
    return answer("cuGraphLaunch");
}
