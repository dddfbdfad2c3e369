# `cmake --install` and `cpack`: the tree and the archive run from any folder, with the ONNX Runtime they were built with.
install(TARGETS manta_engine EXPORT manta_engine-targets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/manta ${PROJECT_BINARY_DIR}/include/manta DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  FILES_MATCHING PATTERN "*.hpp")
if(MANTA_PROGRAMS)
  install(TARGETS manta-engine manta-engine-server RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

install(FILES ${ONNXRUNTIME_REAL} DESTINATION ${CMAKE_INSTALL_LIBDIR} RENAME ${ONNXRUNTIME_SONAME}
  PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
# Its execution providers (CUDA) are separate files that it looks for beside itself.
get_filename_component(ONNXRUNTIME_FOLDER ${ONNXRUNTIME_REAL} DIRECTORY)
file(GLOB ONNXRUNTIME_PROVIDERS ${ONNXRUNTIME_FOLDER}/libonnxruntime_providers_*.so)
install(FILES ${ONNXRUNTIME_PROVIDERS} DESTINATION ${CMAKE_INSTALL_LIBDIR})

set(MANTA_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/manta_engine)
install(EXPORT manta_engine-targets NAMESPACE manta:: DESTINATION ${MANTA_CMAKE_DIR})
configure_package_config_file(cmake/manta_engine-config.cmake.in ${PROJECT_BINARY_DIR}/manta_engine-config.cmake
  INSTALL_DESTINATION ${MANTA_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/manta_engine-config-version.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/manta_engine-config.cmake ${PROJECT_BINARY_DIR}/manta_engine-config-version.cmake
  DESTINATION ${MANTA_CMAKE_DIR})

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME manta-engine)
set(CPACK_PACKAGE_VENDOR Manta)
set(CPACK_PACKAGE_FILE_NAME manta-engine-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
