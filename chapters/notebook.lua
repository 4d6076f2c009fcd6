-- Below the title of each executed chapter: its notebook, and the commands that execute it.
-- The words are in _notebook.md, which the preview reads too.
function Pandoc(doc)
  local name = pandoc.path.filename(quarto.doc.input_file)
  local stem = name:match("^(.+)%.ipynb$")
  if not stem or not quarto.doc.is_format("html") then
    return nil
  end
  local file = assert(io.open(pandoc.path.join({ pandoc.path.directory(PANDOC_SCRIPT_FILE), "_notebook.md" })))
  local text = file:read("a")
  file:close()
  local words = { STEM = stem, NUMBER = stem:match("^[^-]+") }
  text = text:gsub("%u+", words)
  local place = 1
  if #doc.blocks > 0 and doc.blocks[1].t == "Header" and doc.blocks[1].level == 1 then
    place = 2
  end
  for number, block in ipairs(pandoc.read(text, "markdown").blocks) do
    doc.blocks:insert(place + number - 1, block)
  end
  return doc
end
