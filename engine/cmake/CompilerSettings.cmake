# Warnings are errors; sanitizers and optimization for every target alike.
add_library(manta_warnings INTERFACE)
target_compile_options(manta_warnings INTERFACE
  -Wall -Wextra -Werror -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wold-style-cast
)

# Where the programs find the libraries after installation: relative, so that the tree runs from any folder.
file(RELATIVE_PATH MANTA_BIN_TO_LIB ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
set(CMAKE_INSTALL_RPATH "$ORIGIN;$ORIGIN/${MANTA_BIN_TO_LIB}")

if(MANTA_SANITIZE)
  add_compile_options(-fsanitize=${MANTA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${MANTA_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    add_compile_options(-fno-sanitize=pointer-overflow)  # RapidJSON's empty stack is a null pointer plus a size
  endif()
  if(MANTA_SANITIZE STREQUAL "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan)  # Asio's fences, which it does not see; what they order is behind mutexes as well
  endif()
else()
  add_compile_options(-fstack-protector-strong)
  add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed)
  add_compile_definitions($<$<CONFIG:Release>:_FORTIFY_SOURCE=2>)
endif()
