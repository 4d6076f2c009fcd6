-- Runs after Quarto, on every page that it wrote.
--
-- 1. Wherever a notebook's output holds HTML, Quarto takes it for a widget and has the page load
--    RequireJS and jQuery from a network. Nothing here needs them.
-- 2. What may be wider than a phone (figures, tables, code) scrolls in a box of its own that the
--    keyboard reaches, and the navigations are told apart by name.

local function is_unwanted(script)
  return script:find("define('jquery'", 1, true)
    or script:find('src="https://cdn[^"]*/requirejs@')
    or script:find('src="https://cdn[^"]*/jquery@')
end

local function scrolling(what, part)
  return '<span class="scroll" tabindex="0" role="group" aria-label="' .. what .. '">' .. part .. "</span>"
end

local function finish(page)
  page = page:gsub("<script[^>]*>.-</script>", function(script)
    if is_unwanted(script) then
      return ""
    end
  end)
  page = page:gsub("<img[^>]*figure%-img[^>]*>", function(image)
    return scrolling("Figure", image)
  end)
  page = page:gsub("<table[^>]*>.-</table>", function(written)
    if not written:find("data-quarto-disable-processing", 1, true) then
      return (scrolling("Table", written):gsub("^<span", "<div"):gsub("</span>$", "</div>"))
    end
  end)
  page = page:gsub('<math display="block".-</math>', function(equation)
    return scrolling("Equation", equation)
  end)
  page = page:gsub("<pre><code>", '<pre tabindex="0"><code>')
  page = page:gsub('<div class="sourceCode', '<div tabindex="0" role="group" aria-label="Code" class="sourceCode')
  page = page:gsub("<a [^>]*data%-bs%-toggle=\"collapse\"[^>]*>", function(opening)
    return (opening:gsub('role="navigation"', 'role="button"'))
  end)
  page = page:gsub('<nav class="quarto%-secondary%-nav"', '%0 aria-label="Where you are"')
  page = page:gsub('<nav id="quarto%-sidebar"', '%0 aria-label="Book"')
  return (page:gsub('<nav id="TOC"', '%0 aria-label="This page"'))
end

for path in (os.getenv("QUARTO_PROJECT_OUTPUT_FILES") or ""):gmatch("[^\r\n]+") do
  if path:match("%.html$") then
    local file = assert(io.open(path, "rb"))
    local before = file:read("a")
    file:close()
    local after = finish(before)
    if after ~= before then
      file = assert(io.open(path, "wb"))
      file:write(after)
      file:close()
    end
  end
end
