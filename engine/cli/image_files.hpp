// Which files to classify.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace manta::cli {

struct UnreadableFolder {
  std::filesystem::path path;
  std::string why;
};

struct FoundFiles {
  // Sorted, for each directory.
  std::vector<std::filesystem::path> images;
  std::vector<UnreadableFolder> unreadable;
};

// All files at and below `directory` that are images by their name or by their first bytes. Links to folders are not
// followed. Throws NotFound.
void find_images(const std::filesystem::path& directory, FoundFiles& found);

// Throws NotFound.
[[nodiscard]] std::string read_bytes(const std::filesystem::path& path);

}  // namespace manta::cli
