"""Words and numbers that ham and spam share."""

from __future__ import annotations

NUMBERS = {
    "d": "0|1|2|3|4|5|6|7|8|9",
    "d1": "1|2|3|4|5|6|7|8|9",
    "dd": "{d}{d}",
    "ddd": "{d}{d}{d}",
    "dddd": "{dd}{dd}",
    "upper": "A|B|C|D|E|F|G|H|J|K|L|M|N|P|Q|R|S|T|V|W|X|Y",
    "small_number": "2|3|4|5|6|7|8|9|10|12|15|20",
    "minutes": "5|10|15|20|30|40|45",
    "hour": "1|2|3|4|5|6|7|8|9|10|11|12",
    "clock": "{hour}|{hour}|{hour}pm|{hour}am|{hour}.30|{hour}:{quarter}|half {hour}",
    "quarter": "00|15|30|45",
    "score": "{goal}-{goal}|{goal} {goal}",
    "goal": "0|1|2|3|4",
    "mobile": "07{d}{dd}{ddd}{ddd}|07{d}{ddd} {ddd}{ddd}",
    "landline": "020{d1}{ddd}{dddd}|01{d1}{d} {ddd} {ddd}|0{d1}{ddd} {ddd}{ddd}",
    "helpline": "0845{ddd}{dddd}|0800{ddd}{ddd}|0800 {ddd} {dddd}|0870{ddd}{dddd}",
    "price": "£{d1}|£{d1}.{dd}|£{d1}{d}|{d1}{d} quid|{d1} pounds|£{d1}.50",
    "percent": "10%|15%|20%|25%|30%|50%",
    "date": "{d1}/{hour}|1{d}th {month}|{month} 1{d}th|1{d}/0{d1}/0{d1}|2{d1}th {month}",
    "month": "Jan|Feb|March|April|May|June|July|August|Sept|October|Nov|December",
    "reference": "{upper}{dddd}|{d1}{dddd}|{upper}{upper}{ddd}|{d1}{ddd}|{upper}{d}{upper}{dd}",
}

WORDS = {
    "friend": (
        "Alice|Ben|Carla|Dave|Emma|Farah|Greg|Hannah|Ivan|Josh|Kate|Leo|Mina|Nick|Olga|Pete|Rosie|"
        "Sam|Tara|Umar|Vicky|Will|Yusuf|Zoe|Jess|Mark|Priya|Tom|Lucy|Callum|Megan|Ravi|Steph|Dan|"
        "Chloe|Ali|Becky|Harry|Anna|Mike|Jenny|Karl|Lena|Owen|Sara|Tim|Nadia|Rob"
    ),
    "relative": "mum|dad|my brother|my sister|gran|my cousin|my uncle|my aunt|the kids|my parents",
    "who": "{friend}|{friend}|{relative}|my flatmate|the neighbour|my boss|everyone|the others",
    "day": (
        "today|tomorrow|tonight|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|"
        "this weekend|next week|on Friday|on Saturday|this morning|this afternoon|this evening"
    ),
    "place": (
        "the station|town|the library|my place|your place|the gym|the office|the pub|the park|"
        "the cinema|the cafe|college|uni|the bus stop|church|the market|the beach|the hospital|"
        "the airport|the new mall|the flat|home|work|school|the pool|the corner shop|the river"
    ),
    "city": (
        "London|Leeds|Bristol|Glasgow|Cardiff|York|Bath|Dublin|Oxford|Brighton|Leicester|Hull|"
        "Derby|Exeter|Norwich|Paris|Berlin|Madrid|Rome|Delhi|Singapore|Lagos|Boston"
    ),
    "shop": (
        "Tesco|Boots|Argos|Next|Asda|Ikea|the bookshop|the bakery|Superdrug|the phone shop|"
        "the garden centre|Smiths|Lidl|the chemist|HomeStore|MegaMart|Woolies|PhoneHub"
    ),
    "brand": (
        "Nokia|Sony|Samsung|Motorola|Siemens|iPod|Xbox|Playstation|camera phone|laptop|plasma TV|"
        "digital camera|DVD player|camcorder|mp3 player|MiniDisc"
    ),
    "network": "Orange|Vodafone|O2|T-Mobile|Virgin|BlueTel|MobiNet|FoneLine|CellOne",
    "dish": (
        "curry|pasta|soup|roast|lasagne|pizza|stew|fried rice|noodles|pancakes|chilli|omelette|"
        "salad|fish pie|risotto|dumplings|burgers|chicken soup|lemon cake|apple pie|biryani|dosa"
    ),
    "ingredient": (
        "onions|garlic|butter|eggs|flour|sugar|salt|pepper|chicken|rice|cheese|tomatoes|milk|bread|"
        "potatoes|olive oil|cream|ginger|beans|mushrooms|carrots|lemons|spinach|beef"
    ),
    "cooking": "boil|fry|bake|roast|chop|stir|grill|simmer|peel|mix|slice|steam",
    "kitchen": "the oven|a big pan|the pot|the grill|the microwave|a bowl|the frying pan|the stove",
    "taste": (
        "delicious|lovely|too salty|a bit burnt|really tasty|so spicy|amazing|bland|sweet|crispy"
    ),
    "weather": (
        "rain|snow|sun|fog|wind|thunder|storms|heavy showers|frost|sunshine|ice|drizzle|hail|clouds"
    ),
    "weather_like": (
        "raining|snowing|sunny|foggy|windy|freezing|boiling hot|cloudy|stormy|chilly|humid|grey|"
        "lovely and warm|icy|wet and cold|mild|dry and bright"
    ),
    "temperature": "{d1} degrees|minus {d1}|2{d} degrees|3{d1} degrees|below zero",
    "sport": (
        "football|tennis|rugby|cricket|swimming|basketball|badminton|running|cycling|hockey|golf|"
        "boxing|netball|climbing"
    ),
    "team": (
        "Arsenal|Chelsea|United|Liverpool|Villa|Leeds|England|Scotland|Wales|India|Rovers|City|"
        "Everton|Celtic|the Tigers|the Wasps|Ireland|the reds|the home team"
    ),
    "player": "goalkeeper|striker|captain|coach|referee|defender|keeper|bowler|new signing",
    "contest": "match|game|final|cup|league|race|tournament|derby|semi final|second half",
    "subject": (
        "maths|history|biology|chemistry|law|economics|physics|English|stats|psychology|French|"
        "accounting|geography|art"
    ),
    "homework": "essay|report|project|coursework|presentation|notes|assignment|lab work|revision",
    "feeling": (
        "tired|happy|bored|sad|so excited|stressed|hungry|sleepy|fine|nervous|a bit low|great|"
        "really angry|lonely|proud of you|worried|sick|fed up"
    ),
    "ailment": "a cold|the flu|a headache|a bad back|toothache|a fever|a sore throat|a hangover",
    "film": (
        "the new Bond film|that comedy|a horror film|Shrek|Spiderman|the late film|a DVD|"
        "the documentary|Lost|the news|the soap|that quiz show|Big Brother|Idol"
    ),
    "music": (
        "the new album|that song|the gig|the band|the concert|the radio show|the playlist|"
        "a ringtone|the remix|the festival"
    ),
    "thing": (
        "keys|umbrella|jacket|phone|charger|wallet|book|bag|camera|ticket|laptop|shoes|coat|"
        "glasses|guitar|bike|card|passport|dress|sofa|suitcase|tent"
    ),
    "gift": "flowers|chocolates|a watch|a scarf|a voucher|a mug|perfume|a cake|a teddy|earrings",
    "vehicle": "bus|train|tube|taxi|car|plane|tram|ferry|bike|coach",
    "job": "meeting|shift|interview|deadline|client call|report|invoice|rota|training day|payslip",
    "chore": "washing up|laundry|hoovering|ironing|rubbish|rent|gas bill|boiler|garden|dishes",
    "holiday_place": (
        "Spain|Tenerife|Cyprus|Greece|Turkey|Florida|Egypt|Malta|Goa|Barbados|Ibiza|Italy|Majorca"
    ),
    "star_sign": (
        "Aries|Taurus|Gemini|Cancer|Leo|Virgo|Libra|Scorpio|Capricorn|Aquarius|Pisces|Sagittarius"
    ),
    "pet": "babe|hun|love|dear|mate|sweetie|pal|honey|bro|darling|buddy|sis",
    "kind_word": "lovely|nice|great|cool|brilliant|wicked|good|sweet|fab|fantastic",
    "laugh": "haha|lol|hehe|lmao|ha|hee",
    "smiley": ":)|:-)|;)|:D|:P|xx|xxx|x|:(",
}
