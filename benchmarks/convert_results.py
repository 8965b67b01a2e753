"""RESULTS.md -> results/*.jsonl; fails if a number of a row is not in its line."""
import json, re, collections, pathlib, sys
sys.path.insert(0,"/work/wt/docs")
from benchmarks.index import INDEX
from benchmarks.results import FIGURES
B = pathlib.Path("/work/wt/docs/benchmarks")
num = lambda s: float(s.replace(",","")) if re.search(r"[.e]", s) else int(s.replace(",",""))
I = r"(-?\+?\d+\.\d+) \[([-+.\d]+), ([-+.\d]+)\]"
def iv(s): 
    m = re.fullmatch(I, s.strip()); assert m, s
    return [float(x) for x in m.groups()]
def ivs(s): return [[float(x) for x in m] for m in re.findall(I, s)]
def name_of(heading, text):
    if heading.startswith("CRF against"): return "crf"
    if heading.startswith("crf_ner against"): return "tagger cantemist" if "CANTEMIST train" in text else "tagger maccrobat"
    if heading.startswith("Calibration"): return "tagger calibration"
    if heading.startswith("relations between"): return "relations maccrobat"
    if heading.startswith("focused"): return "relations focused"
    if heading.startswith("pretrained"): return "transformers pretrained"
    if heading.startswith("pool"): return "tagger pool"
    return heading.partition(":")[0].replace("trf ","transformers ")
def crf(t):
    setting, _, rest = t.partition(": "); rows=[]
    for p in rest.split("; "):
        m = re.fullmatch(r"(\(.*\)) train ([\d.]+)x decode ([\d.]+)x", p)
        if m: rows.append({"name":m[1],"train_ratio":num(m[2]),"decode_ratio":num(m[3])}); continue
        m = re.fullmatch(r"(\d+ tokens) (\d+) ms", p); rows.append({"name":m[1],"milliseconds":num(m[2])})
    return setting, rows
def eds(t):
    setting, rest = t.split("; EDS-NLP (",1); rows=[]
    for p in ("EDS-NLP ("+rest).split("; "):
        m = re.fullmatch(r"(.*?) \((.*), trained at (\S+)\): training (\S+) words/s \((\S+) a CPU second\), (\S+) MiB", p)
        if m: rows.append({"name":m[1]+", training","packages":m[2],"trained_at":m[3],"train_words_per_second":num(m[4]),"train_words_per_cpu_second":num(m[5]),"train_peak_mib":num(m[6])}); continue
        m = re.fullmatch(r"(.*?): F (.*), inference (\S+) words/s, (\S+) MiB", p)
        rows.append({"name":m[1],"f":iv(m[2]),"words_per_second":num(m[3]),"peak_mib":num(m[4])})
    return setting, rows
def speed(t):
    parts = t.split("; "); rows=[]
    for p in parts[1:]:
        m = re.fullmatch(r"(.*): F (.*)", p)
        if m: rows.append({"name":m[1],"f":iv(m[2])}); continue
        m = re.fullmatch(r"(.*): (\S+) words/s \((\S+) x\), (\S+) MiB", p)
        rows.append({"name":m[1],"words_per_second":num(m[2]),"ratio":num(m[3]),"peak_mib":num(m[4])})
    return parts[0], rows
def linear(t):
    setting, _, rest = t.partition(": "); rows=[]
    times, spread, peak = rest.split("; ")
    for m in re.finditer(r"(\S+ tokens) (\S+) us/token", times): rows.append({"name":m[1],"microseconds_per_token":num(m[2])})
    rows.append({"name":"slowest over fastest","ratio":num(spread.split()[-1])})
    m = re.fullmatch(r"peak RSS for (\S+ tokens) (\S+) MiB", peak); rows[-2]["peak_mib"]=num(m[2]); assert rows[-2]["name"]==m[1]
    return setting, rows, m[1]
def comp(t):
    rows=[]
    for p in t.split("; "):
        if p.startswith("paired"): rows.append({"name":"paired difference","differences":ivs(p)}); continue
        m = re.fullmatch(r"(.*?) \(trained at (.*?)\): median F (\S+) \(by seed (.*)\), training (\S+) min, peak RSS (\S+) MiB", p)
        rows.append({"name":m[1],"trained_at":m[2],"median_f":num(m[3]),"by_seed":ivs(m[4]),"minutes":num(m[5]),"train_peak_mib":num(m[6])})
    return "", rows
def rel(t):
    rows=[]
    for p in t.split("; "):
        m = re.fullmatch(r"(.*?) \(at (.*?)\): median F (\S+) \(by seed (.*?\])\)(?:, candidate recall (\S+), training (\S+) min)?", p)
        if m is None:
            m = re.fullmatch(r"(.*?) \(at (.*?)\): median F (\S+) \(by seed (.*)\)(?:, candidate recall (\S+), training (\S+) min)?", p)
        r={"name":m[1],"trained_at":m[2],"median_f":num(m[3]),"by_seed":ivs(m[4])}
        if m[5]: r.update(candidate_recall=num(m[5]),minutes=num(m[6]))
        rows.append(r)
    return "", rows
def foc(t):
    parts=t.split("; "); rows=[]
    i = next(i for i,p in enumerate(parts) if p.startswith("K="))
    for p in parts[i:]:
        m = re.fullmatch(r"(K=\d \w+): packed (\S+) pairs/s, naive (\S+) pairs/s, (\S+)x \((\S+)x of CPU time\), difference (\S+)", p)
        rows.append({"name":m[1],"pairs_per_second":num(m[2]),"naive_pairs_per_second":num(m[3]),"ratio":num(m[4]),"cpu_ratio":num(m[5]),"largest_difference":m[6]})
    return "; ".join(parts[:i]), rows
def papers(t):
    head, seed, *_ = t.split("; "); setting = f"{head}; {seed}"; rest = t[len(setting)+2:]; rows=[]
    for p in re.split(r"(?<=\)); ", rest):
        m = re.fullmatch(r"(.*?): (.*?) \(paper: (.*); trained at (\S+)\)", p); assert m, p
        r={"name":m[1]}; body=m[2]
        for key, pat in [("end_to_end_f",r"relations, end to end, F (\S+ \[.*?\])"),("gold_f",r"relations, gold entities, F (\S+ \[.*?\])"),("token_f",r"token-level weighted F (\S+ \[.*?\])"),("f",r"(?:entities )?F (\S+ \[.*?\])")]:
            mm = re.search(pat, body)
            if mm: r[key]=iv(mm[1]); body = body.replace(mm[0],"")
        for key, pat in [("p",r"P (\S+?)(?:,|$)"),("r",r"R (\S+?)(?:,|$)")]:
            mm = re.search(pat, body)
            if mm: r[key]=num(mm[1]); body=body.replace(mm[0],"")
        mm = re.search(r"(\S+) s an epoch \((\S+) CPU s\)", body)
        if mm: r.update(epoch_seconds=num(mm[1]),epoch_cpu_seconds=num(mm[2])); body=body.replace(mm[0],"")
        assert not body.strip(" ,"), (p, body)
        if m[3] != "-": r["paper"]={k.rpartition(" ")[0]: num(k.rpartition(" ")[2]) for k in m[3].split(", ")}
        r["trained_at"]=m[4]; rows.append(r)
    return setting, rows
def pre(t):
    rows=[]
    for p in t.split("; "):
        m = re.fullmatch(r"(.*?): median F (\S+) \(by seed (.*)\)", p)
        if m: rows.append({"name":m[1],"median_f":num(m[2]),"by_seed":ivs(m[3])}); continue
        m = re.fullmatch(r"(paired difference to .*?) by seed (.*)", p)
        if m: rows.append({"name":m[1],"differences":ivs(m[2])}); continue
        m = re.fullmatch(r"the other tagger (.*)", p); rows.append({"name":"the other tagger","f":iv(m[1])})
    return "", rows
def trf(t):
    rows=[]
    for p in t.split("; "):
        m = re.fullmatch(r"(.*?): median F (\S+) \(by seed (.*)\), training (\S+) words/s, (\S+) MiB, inference (\S+) words/s, (\S+) MiB", p)
        if m: rows.append({"name":m[1],"median_f":num(m[2]),"by_seed":ivs(m[3]),"train_words_per_second":num(m[4]),"train_peak_mib":num(m[5]),"words_per_second":num(m[6]),"peak_mib":num(m[7])}); continue
        m = re.fullmatch(r"(paired difference to .*?) by seed (.*)", p)
        if m: rows.append({"name":m[1],"differences":ivs(m[2])}); continue
        m = re.fullmatch(r"inference (\S+) x (.*)", p); rows.append({"name":"inference, against "+m[2],"ratio":num(m[1])})
    return "", rows
def mem(t):
    m = re.fullmatch(r"resident after (\S+) notes (\S+) MiB, after (\S+) (\S+) MiB \(\+(\S+)%, (.*)\)", t)
    return "growth "+m[6].replace(": yes",""), [{"name":f"after {m[1]} notes","resident_mib":num(m[2])},{"name":f"after {m[3]} notes","resident_mib":num(m[4]),"growth_percent":num(m[5])}]
def pool(t):
    rows=[]
    for p in t.split("; "):
        m = re.fullmatch(r"(.*?): ("+I+r")(?:, against word vectors ("+I+"))?", p); assert m, p
        r={"name":m[1],"f":iv(m[2])}
        if m[6]: r["difference"]=iv(m[6])
        rows.append(r)
    return "differences are those to word vectors", rows
FORMS = {"crf":crf,"tagger edsnlp":eds,"tagger speed":speed,"tagger linear":linear,"tagger cantemist":comp,"tagger maccrobat":comp,"relations maccrobat":rel,"relations focused":foc,"transformers pretrained":pre,"transformers maccrobat":trf,"transformers memory":mem,"tagger pool":pool}
NUM = re.compile(r"\d[\d,]*\.?\d*(?:e-\d+)?")
def tokens(s):
    out=collections.Counter()
    for t in NUM.findall(s):
        t=t.strip(",").rstrip(".")
        try: v=float(t.replace(",","")) if not re.match(r"^\d{1,2},\d{1,2}$",t) else t
        except ValueError: v=t
        out[v]+=1
    return out
lines=collections.defaultdict(list); count=0
heading=None; order=[]
for line in (B/"RESULTS.md").read_text(encoding="utf8").splitlines():
    if line.startswith("## "): heading=line[3:]
    m = re.match(r"\| (\d{4}-\d\d-\d\d) \| (\S+) \| (.*?) \| (.*) \|$", line)
    if not m: continue
    date, commit, versions, text = m.groups(); text=text.replace("\\|","|")
    name = name_of(heading, text); assert name in INDEX, name
    extra=""
    if text.startswith("Entered by hand"): setting, rows = text, []
    if text.startswith("Entered by hand") and name=="tagger calibration":
        m = re.search(r"dev1 (\S+) -> (\S+), dev2 (\S+) -> (\S+); log loss on dev2 (\S+) -> (\S+)$", text); v=[float(x) for x in m.groups()]
        rows=[{"name":"dev1","ece_before":v[0],"ece_after":v[1]},{"name":"dev2","ece_before":v[2],"ece_after":v[3],"log_loss_before":v[4],"log_loss_after":v[5]}]
        setting=text[:m.start()].rstrip(" :")
    elif not text.startswith('Entered'):
        setting, rows, *more = FORMS.get(name, papers)(text); extra=" ".join(more)
    for r in rows: assert set(r) <= set(FIGURES), r
    run={"benchmark":name,"date":date,"commit":commit,"versions":dict(v.split(" ") for v in versions.split(", ")),"setting":setting,"rows":rows}
    # every number of the row, as often as it stands there
    flat = json.dumps([setting, rows], ensure_ascii=False)
    want, got = tokens(text), tokens(flat + " " + extra)
    missing = want - got
    if missing: print(name, date, "MISSING", dict(missing)); 
    for sign in ("-0.", ):
        assert text.count(sign) == flat.count(sign), (name, text.count(sign), flat.count(sign))
    order.append((date,count,name,run)); count+=1
for date, n, name, run in sorted(order, key=lambda o:(o[0], o[1])):
    lines[name.partition(" ")[0]].append(run)
(B/"results").mkdir(exist_ok=True)
for f, runs in lines.items():
    (B/"results"/f"{f}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False)+"\n" for r in runs), encoding="utf8")
    print(f, len(runs))
print(count, "rows")
