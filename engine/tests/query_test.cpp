#include "query.hpp"

#include <gtest/gtest.h>

namespace manta::server {
namespace {

TEST(Query, SplitsTargets) {
  EXPECT_EQ(split_target("/predict?top_k=3").path, "/predict");
  EXPECT_EQ(split_target("/predict?top_k=3").query, "top_k=3");
  EXPECT_EQ(split_target("/predict").query, "");
  EXPECT_EQ(split_target("http://host:80/a/b?c").path, "/a/b");
  EXPECT_EQ(split_target("http://host").path, "/");
  EXPECT_EQ(split_target("/%70redict%2f%zz%").path, "/predict/%zz%");
  EXPECT_EQ(split_target("").path, "");
}

TEST(Query, FindsTheLastValue) {
  EXPECT_EQ(query_value("top_k=3&a=b&top_k=4", "top_k"), "4");
  EXPECT_EQ(query_value("top%5Fk=+%2B5", "top_k"), " +5");
  EXPECT_EQ(query_value("top_k", "top_k"), "");
  EXPECT_EQ(query_value("top_k2=1&&=", "top_k"), std::nullopt);
  EXPECT_EQ(query_value("", "top_k"), std::nullopt);
}

}  // namespace
}  // namespace manta::server
