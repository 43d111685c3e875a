// The page's content; how it looks in a browser is browser_test.sh.
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sample.hpp"
#include "shardlab/report/html.hpp"

namespace shardlab {
namespace {

using grade::Status;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(Html, ShowsEveryKindOfEvidence) {
  const std::string page = ToHtml(sample::EverythingReport());
  EXPECT_THAT(page, HasSubstr("<title>1 of 5, bonus 0 of 1: shardlab</title>"));
  EXPECT_THAT(page, HasSubstr("./lab grade demo --seed 7"));
  EXPECT_THAT(page, HasSubstr("Next: demo.ring"));
  EXPECT_THAT(page, HasSubstr("aria-label=\"Wait-for graph. Rank 0 waits for rank 2, in the cycle."));
  EXPECT_THAT(page, HasSubstr("Tested and fits:</b> the sum over the ranks is missing its division by 2"));
  EXPECT_THAT(page, HasSubstr("shardlab::Scatter(Communicator&amp;, std::vector&lt;long&gt; const&amp;)"));
  EXPECT_THAT(page, HasSubstr("<td class=\"wrong\"><b>3</b><small>not 1.5</small></td>"));
  EXPECT_THAT(page, HasSubstr("<b>nan</b>"));
  EXPECT_THAT(page, HasSubstr("<th scope=\"row\">1 (5)</th>")) << "row 1 of the shard is row 5 of the tensor";
  EXPECT_THAT(page, HasSubstr("<caption>[0, 1, :, :]</caption>"));
  EXPECT_THAT(page, HasSubstr("80,640 bytes</td><td class=\"number\">80,640</td><td class=\"met\">✔ yes"));
  EXPECT_THAT(page, HasSubstr("53.75 %</td><td class=\"number\">at most 60</td><td class=\"met\">✔ yes"));
  EXPECT_THAT(page, HasSubstr("48 bytes</td><td class=\"number\">24</td><td class=\"met\">✘ no"));
  EXPECT_THAT(page, HasSubstr("outside the tolerance of one process in 19 steps, first in step 42"));
  EXPECT_THAT(page, HasSubstr("aria-label=\"Timeline of all_gather_values/ranks=3: 5 operations"));
  EXPECT_THAT(page, HasSubstr("Timeline of <b>cost/ranks=4</b>, which passed"));
  EXPECT_THAT(page, HasSubstr("exercises/demo/b.cpp:7:3: error: 'rnak'")) << "why it does not compile";
  EXPECT_THAT(page, HasSubstr("builds on demo.ring, which fails now"));
  EXPECT_EQ(page.find("{{"), page.find("{{{css}}}")) << "only what the student wrote looks like a template";
}

TEST(Html, SaysWhatTheNextPointsAreFor) {
  const std::string page = ToHtml(sample::EverythingReport());
  EXPECT_THAT(page, HasSubstr("<li>+0.5 when all value cases pass (0 of 1 do); the rest is for gradient, cost and "
                              "robustness</li>"));
  EXPECT_EQ(page.find("class=\"missing\"", page.find("id=\"demo.good\"")), std::string::npos)
      << "a part that passed, or did not run, misses nothing";
}

TEST(Html, ShowsTheListsOfAScheduleAsATable) {
  const std::string page = ToHtml(sample::EverythingReport());
  EXPECT_THAT(page, HasSubstr("waits for 1B0</pre>"));
  EXPECT_THAT(page, HasSubstr("<tr><th scope=\"row\">rank 0</th><td class=\"before\">.. 0F0</td><td><mark>0B0</mark>"
                              "</td><td>0F1 0B1 ..</td><td class=\"note\">step 1: waits for 1B0 or 1I0, step 3 of rank "
                              "1</td></tr>"));
  EXPECT_THAT(page, HasSubstr("<tr><th scope=\"row\">rank 1</th><td class=\"before\"></td><td>end</td><td></td>"));
  EXPECT_THAT(page,
              HasSubstr("<th scope=\"row\">rank 12</th><td class=\"before\">1F2 1F0</td><td>1B1</td><td>1B0</td>"));
  EXPECT_THAT(page, HasSubstr("<pre class=\"message\">rank 1 says no more"));
  EXPECT_THAT(page, HasSubstr("&#10;  rank 0: waits in Recv from rank 2")) << "what only begins like one stays prose";
}

TEST(Html, NamesACaseOnceAboveItsFigures) {
  HtmlReport report = sample::EverythingReport();
  for (PartScore& part : report.card.modules[0].parts) {
    if (part.id != "demo.good") continue;
    for (const char* what : {"bytes of rank 0", "bytes of rank 1"}) {
      part.cases[0].evidence["figures"].push_back(
          {{"what", what}, {"measured", 1}, {"target", 1}, {"unit", "bytes"}, {"met", true}});
    }
  }
  const std::string page = ToHtml(report);
  const size_t heading = page.find("<tr class=\"group\"><th colspan=\"4\" scope=\"rowgroup\">cost/ranks=4</th></tr>");
  ASSERT_NE(heading, std::string::npos);
  EXPECT_EQ(page.find("scope=\"rowgroup\">cost/ranks=4", heading + 60), std::string::npos);
  const size_t second = page.find("bytes of rank 1", heading);
  EXPECT_LT(page.find("bytes of rank 0", heading), second);
  EXPECT_LT(second, page.find("scope=\"rowgroup\">time/ranks=2", heading));
}

TEST(Html, KeepsADrawingInOnePiece) {
  const std::string page = ToHtml(sample::EverythingReport());
  EXPECT_THAT(page, HasSubstr("&#10;It is</pre>"));
  EXPECT_THAT(page, HasSubstr("<pre class=\"drawing\">time     0              5&#10;"
                              "rank 0   F0 F1 ......B0--- ...B1---&#10;rank 1   ...F0 B0--- F1 B1--- ......&#10;"
                              "         F forward   B backward   . idle</pre>"));
  EXPECT_THAT(page, HasSubstr("<pre class=\"message\">and it must be shorter</pre>"));
}

TEST(Html, NothingOfAStudentIsMarkup) {
  const std::string page = ToHtml(sample::EverythingReport());
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;document.title='owned'&lt;/script&gt;"));
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script")), Not(HasSubstr("onerror=\"")), Not(HasSubstr("\x1b"))));
  const std::regex images("<img[^>]*>");
  for (auto at = std::sregex_iterator(page.begin(), page.end(), images); at != std::sregex_iterator(); ++at) {
    EXPECT_THAT(at->str(), HasSubstr("src=\"data:image/svg+xml,"));
  }
  EXPECT_THAT(page, HasSubstr("Content-Security-Policy\" content=\"default-src 'none'"));
  const std::regex elsewhere("(src|href)=\"(?!#|data:)");
  EXPECT_FALSE(std::regex_search(page, elsewhere)) << "the page needs nothing but itself";
}

TEST(Html, EvidenceThatMakesNoSenseIsLeftOut) {
  HtmlReport report = sample::EverythingReport();
  for (PartScore& part : report.card.modules[0].parts) {
    for (grade::CaseResult& result : part.cases) {
      result.evidence = {{"waits", {1, "two"}},
                         {"stacks", {{{"frames", 3}}}},
                         {"tensor", {{"shape", "large"}, {"cells", {1, 2}}}},
                         {"figures", {nullptr}},
                         {"diagnosis", 7}};
    }
  }
  EXPECT_THAT(ToHtml(report), AllOf(HasSubstr("each waits for a message"), Not(HasSubstr("class=\"waits\""))));
  report.card.modules[0].parts[0].cases[0].evidence = nullptr;
  EXPECT_THAT(ToHtml(report), HasSubstr("each waits for a message"));
}

TEST(Html, StaysSmallWhateverFails) {
  HtmlReport report = sample::EverythingReport();
  PartScore& part = report.card.modules[0].parts[0];
  const grade::CaseResult failed = part.cases[0];
  const Timeline timeline = MakeTimeline(sample::RingRun(100, true));
  for (int i = 0; i < 300; ++i) {
    part.cases.push_back(failed);
    part.cases.back().id = "case" + std::to_string(i) + "/ranks=100";
    report.timelines[part.id + "/" + part.cases.back().id] = timeline;
  }
  const std::string page = ToHtml(report);
  EXPECT_LT(page.size(), 6u << 20);
  EXPECT_THAT(page, HasSubstr("lab grade --trace DIR writes the timelines of all cases"));
}

TEST(Html, AnEmptyCardIsAPageToo) {
  EXPECT_THAT(ToHtml({}), AllOf(HasSubstr("nothing was graded"), HasSubstr("</html>")));
}

}  // namespace
}  // namespace shardlab
