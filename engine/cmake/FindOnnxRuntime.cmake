# ONNX Runtime, from an official release or from a Python wheel and headers of Debian.
#
#   ONNXRUNTIME_ROOT          folder of a release, with include/ and lib/
#   ONNXRUNTIME_INCLUDE_DIR   folder with onnxruntime_cxx_api.h, or the prefix above (as /usr, or an unpacked package)
#   ONNXRUNTIME_LIBRARY       libonnxruntime.so, libonnxruntime.so.1 or libonnxruntime.so.1.*
#
# The C API is stable: headers may be older than the library. Defines the target OnnxRuntime::OnnxRuntime.
file(GLOB _ort_candidates ${ONNXRUNTIME_ROOT}/lib/libonnxruntime.so.1.* ${ONNXRUNTIME_ROOT}/lib64/libonnxruntime.so.1.*)
if(_ort_candidates AND NOT ONNXRUNTIME_LIBRARY)
  list(GET _ort_candidates 0 ONNXRUNTIME_LIBRARY)
endif()
find_path(ONNXRUNTIME_HEADERS onnxruntime_cxx_api.h
  HINTS ${ONNXRUNTIME_ROOT} ${ONNXRUNTIME_INCLUDE_DIR}
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session usr/include/onnxruntime onnxruntime
)
find_library(ONNXRUNTIME_LIBRARY NAMES onnxruntime HINTS ${ONNXRUNTIME_ROOT} PATH_SUFFIXES lib lib64)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntime REQUIRED_VARS ONNXRUNTIME_LIBRARY ONNXRUNTIME_HEADERS)

if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::OnnxRuntime)
  # Programs ask for the SONAME, which a wheel has no file of that name for: the build folder gets the link.
  get_filename_component(ONNXRUNTIME_REAL ${ONNXRUNTIME_LIBRARY} REALPATH)
  set(ONNXRUNTIME_SONAME libonnxruntime.so.1)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
  file(CREATE_LINK ${ONNXRUNTIME_REAL} ${PROJECT_BINARY_DIR}/lib/${ONNXRUNTIME_SONAME} SYMBOLIC)
  add_library(OnnxRuntime::OnnxRuntime SHARED IMPORTED)
  set_target_properties(OnnxRuntime::OnnxRuntime PROPERTIES
    IMPORTED_LOCATION ${PROJECT_BINARY_DIR}/lib/${ONNXRUNTIME_SONAME}
    IMPORTED_SONAME ${ONNXRUNTIME_SONAME}
    INTERFACE_INCLUDE_DIRECTORIES ${ONNXRUNTIME_HEADERS}
  )
  # Warnings of its headers are not ours to fix: imported targets' folders are system folders.
endif()
