/* What libnvinfer.so.11 must export for TensorRT's Python bindings to import on a machine without a
 * GPU. Nothing here works: only the bindings' classes and signatures are looked at. */
#define NOTHING(name) void *name(void) { return 0; }
NOTHING(createInferBuilder_INTERNAL)
NOTHING(createInferRefitter_INTERNAL)
NOTHING(createInferRuntime_INTERNAL)
NOTHING(createNvOnnxParser_INTERNAL)
NOTHING(createNvOnnxParserRefitter_INTERNAL)
NOTHING(getBuilderPluginRegistry)
NOTHING(getPluginRegistry)
NOTHING(initLibNvInferPlugins)
int getNvOnnxParserVersion(void) { return 0; }
