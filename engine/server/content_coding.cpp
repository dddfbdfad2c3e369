#include "content_coding.hpp"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <new>

#include "problem.hpp"
#include "text.hpp"

namespace manta::server {
namespace {

constexpr std::size_t kPiece = std::size_t{64} * 1024;
constexpr int kFast = 1;
constexpr int kMemoryLevel = 8;  // zlib's default

// zlib's word for the format; HTTP's deflate is zlib's own, with its header and checksum.
int window_bits(ContentCoding coding) {
  return coding == ContentCoding::gzip ? MAX_WBITS + 16 : MAX_WBITS;
}

std::optional<ContentCoding> coding_of(std::string_view text) {
  if (text == "gzip") return ContentCoding::gzip;
  if (text == "deflate") return ContentCoding::deflate;
  return std::nullopt;
}

// zlib only reads its input, but takes what it could write to.
void set_input(z_stream& stream, std::string_view data) {
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
}

class Inflater {
 public:
  explicit Inflater(ContentCoding coding) {
    if (inflateInit2(&stream_, window_bits(coding)) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  Inflater(Inflater&&) = delete;
  Inflater& operator=(Inflater&&) = delete;

  z_stream& stream() { return stream_; }

 private:
  z_stream stream_{};
};

[[noreturn]] void refuse_size(std::size_t most) {
  throw HttpError(413, "the body is larger than the limit of " + grouped(most) + " bytes");
}

}  // namespace

std::string_view name(ContentCoding coding) noexcept {
  return coding == ContentCoding::gzip ? "gzip" : "deflate";
}

std::optional<ContentCoding> content_coding(std::string_view header) {
  const std::string text = lower(trimmed(header));
  if (text.empty() || text == "identity") return std::nullopt;
  const auto coding = coding_of(text);
  if (!coding) {
    throw HttpError(415, "content encoding " + printable(first_letters(text, 100)) +
                             " is not supported: send gzip, deflate or none");
  }
  return coding;
}

std::optional<ContentCoding> accepted_coding(std::string_view header) {
  while (!header.empty()) {
    const std::string_view choice = header.substr(0, header.find(','));
    header.remove_prefix(std::min(header.size(), choice.size() + 1));
    const std::size_t semicolon = choice.find(';');
    const auto coding = coding_of(lower(trimmed(choice.substr(0, semicolon))));
    const std::string_view weight = semicolon == std::string_view::npos ? "" : trimmed(choice.substr(semicolon + 1));
    if (coding && weight != "q=0" && weight != "q=0.0") return coding;
  }
  return std::nullopt;
}

std::string inflated(std::string_view body, ContentCoding coding, std::size_t most) {
  if (body.size() > std::numeric_limits<uInt>::max()) refuse_size(most);
  const std::string format(name(coding));
  Inflater inflater(coding);
  z_stream& stream = inflater.stream();
  set_input(stream, body);
  std::string text;
  std::array<char, kPiece> piece{};
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(piece.data());
    stream.avail_out = static_cast<uInt>(piece.size());
    status = inflate(&stream, Z_NO_FLUSH);
    text.append(piece.data(), piece.size() - stream.avail_out);
    if (text.size() > most) refuse_size(most);
  }
  if (status == Z_BUF_ERROR) throw HttpError(400, "the " + format + " body is cut off");
  if (status != Z_STREAM_END) {
    throw HttpError(400, "the body is not " + format + ": " + (stream.msg != nullptr ? stream.msg : "damaged"));
  }
  if (stream.avail_in > 0) throw HttpError(400, "the body goes on after the end of its " + format + " data");
  return text;
}

std::string compressed(std::string_view body, ContentCoding coding) {
  z_stream stream{};
  if (deflateInit2(&stream, kFast, Z_DEFLATED, window_bits(coding), kMemoryLevel, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
  set_input(stream, body);
  std::string text(deflateBound(&stream, static_cast<uLong>(body.size())), '\0');
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  deflate(&stream, Z_FINISH);  // there is room for all of it
  text.resize(stream.total_out);
  deflateEnd(&stream);
  return text;
}

}  // namespace manta::server
