#include "image_files.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <iterator>
#include <string_view>

#include "manta/errors.hpp"
#include "manta/image.hpp"

namespace manta::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSignatureBytes = 12;

bool is_named_like_an_image(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  constexpr std::array<std::string_view, 5> kExtensions = {".jpg", ".jpeg", ".png", ".bmp", ".webp"};
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

bool begins_like_an_image(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string start(kSignatureBytes, '\0');
  file.read(start.data(), kSignatureBytes);
  start.resize(static_cast<std::size_t>(file.gcount()));
  return has_image_signature(start);
}

// One folder; the ones in it are entered by themselves, so that one that cannot be read hides no other.
void find_in_folder(const fs::path& folder, FoundFiles& found) {
  std::error_code error;
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) entries.push_back(*at);
  if (error) found.unreadable.push_back({folder, error.message()});
  std::sort(entries.begin(), entries.end());
  for (const auto& entry : entries) {
    std::error_code ignored;  // an entry that is gone again is neither a file nor a folder
    if (entry.is_directory(ignored) && !entry.is_symlink(ignored)) {
      find_in_folder(entry.path(), found);
    } else if (entry.is_regular_file(ignored) &&
               (is_named_like_an_image(entry.path()) || begins_like_an_image(entry.path()))) {
      found.images.push_back(entry.path());
    }
  }
}

}  // namespace

void find_images(const fs::path& directory, FoundFiles& found) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) throw NotFound("there is no directory " + directory.string());
  find_in_folder(directory, found);
}

std::string read_bytes(const fs::path& path) {
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (!file || fs::is_directory(path, error)) throw NotFound("cannot read " + path.string());
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) throw NotFound("cannot read " + path.string());
  return bytes;
}

}  // namespace manta::cli
